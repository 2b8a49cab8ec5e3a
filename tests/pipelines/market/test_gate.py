"""The gate: every check has evidence that passes it and evidence that does not."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.market.config import preset
from perdure.pipelines.market.deployment import gate
from perdure.pipelines.market.deployment.gate import Check, Evidence, Regime, Thresholds
from perdure.pipelines.market.evaluation.report import wording
from perdure.settings import overridden

GOOD = Evidence(
    data_age=1.0, symbols_complete=80 / 82, psi=[0.05] * 199 + [0.5] * 3,
    audits={"right truncation": True, "purge overlap": True, "label shuffle": True},
    auc=0.55, auc_lower=0.53, rank_ic=0.05, ece=0.01, sharpe=1.4, net_return=0.0004,
    regimes={"calm, rising": Regime(300, 0.56), "wild, falling": Regime(120, 0.51), "calm, falling": Regime(9, 0.2)},
    blocks=[0.54, 0.56, 0.49, 0.53, 0.52], deflated_sharpe=0.97, trials=12, champion=3, champion_gain_lower=-0.001,
)  # fmt: skip
FAILING: list[tuple[str, dict[str, Any]]] = [
    ("data fresh", {"data_age": 4.0}),
    ("data fresh", {"data_age": -2.0}),
    ("symbols complete", {"symbols_complete": 0.94}),
    ("drift", {"psi": [0.05] * 190 + [0.25] * 12}),
    ("drift", {"psi": [math.nan] * 202}),
    ("audit: right truncation", {"audits": GOOD.audits | {"right truncation": False}}),
    ("audit: purge overlap", {"audits": GOOD.audits | {"purge overlap": False}}),
    ("audit: label shuffle", {"audits": GOOD.audits | {"label shuffle": np.False_}}),
    ("leak: AUC", {"auc": 0.66}),
    ("leak: Sharpe", {"sharpe": 4.1}),
    ("AUC", {"auc": 0.514}),
    ("AUC, lower bound", {"auc_lower": 0.5}),
    ("rank IC", {"rank_ic": 0.019}),
    ("ECE", {"ece": 0.031}),
    ("regimes", {"regimes": GOOD.regimes | {"wild, rising": Regime(100, 0.499)}}),
    ("regimes", {"regimes": {"calm, rising": Regime(99, 0.6)}}),
    ("blocks", {"blocks": [0.54, 0.5, 0.49, 0.53, 0.52]}),
    ("net return", {"net_return": 0.0}),
    ("deflated Sharpe", {"deflated_sharpe": 0.949}),
    ("champion", {"champion_gain_lower": -0.0051}),
]
MISSING: list[tuple[str, dict[str, Any]]] = [
    ("data fresh", {"data_age": None}),
    ("symbols complete", {"symbols_complete": None}),
    ("drift", {"psi": ()}),
    *((f"audit: {name}", {"audits": {k: v for k, v in GOOD.audits.items() if k != name}}) for name in gate.AUDITS),
    ("leak: AUC", {"auc": None}),
    ("leak: Sharpe", {"sharpe": None}),
    ("AUC", {"auc": math.nan}),
    ("AUC, lower bound", {"auc_lower": None}),
    ("rank IC", {"rank_ic": math.nan}),
    ("ECE", {"ece": None}),
    ("regimes", {"regimes": GOOD.regimes | {"wild, rising": Regime(100, None)}}),
    ("regimes", {"regimes": {}}),
    ("blocks", {"blocks": ()}),
    ("blocks", {"blocks": [0.54, None, math.nan, 0.53, 0.52]}),
    ("net return", {"net_return": math.inf}),
    ("deflated Sharpe", {"deflated_sharpe": None}),
    ("champion", {"champion_gain_lower": None}),
]  # fmt: skip


def named(checks: tuple[Check, ...], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def test_good_evidence_opens_the_gate() -> None:
    checks = gate.judge(GOOD, Thresholds())
    assert [check.name for check in checks if not check.passed] == []
    assert gate.passed(checks)
    assert {name for name, _ in FAILING} == {check.name for check in checks}  # none is untested


@pytest.mark.parametrize(("name", "change"), FAILING)
def test_one_bad_number_fails_its_check_and_closes_the_gate(name: str, change: dict[str, Any]) -> None:
    checks = gate.judge(replace(GOOD, **change), Thresholds())
    failed = named(checks, name)
    assert failed.verdict == "failed" and failed.threshold is not None
    assert not gate.passed(checks)


@pytest.mark.parametrize(("name", "change"), MISSING)
def test_a_missing_number_is_a_failed_check(name: str, change: dict[str, Any]) -> None:
    checks = gate.judge(replace(GOOD, **change), Thresholds())
    assert not named(checks, name).passed
    assert not gate.passed(checks)


def test_a_missing_number_is_said_to_be_missing() -> None:
    checks = gate.judge(Evidence(champion=1), Thresholds())
    said = ("missing", "was not made", "none was judged")
    assert all(check.value is None and any(word in check.text for word in said) for check in checks)


def test_nothing_to_judge_opens_no_gate() -> None:
    assert not gate.passed(())


def test_numbers_exactly_at_their_limits_pass_where_the_limit_is_allowed() -> None:
    edge = replace(
        GOOD, data_age=3.0, symbols_complete=0.95, auc=0.515, rank_ic=0.02, ece=0.03, deflated_sharpe=0.95,
        champion_gain_lower=-0.005, regimes={"one": Regime(100, 0.5)}, sharpe=4.0,
    )  # fmt: skip
    assert gate.passed(gate.judge(edge, Thresholds()))
    assert gate.passed(gate.judge(replace(edge, auc=0.65), Thresholds()))


def test_the_first_model_has_no_champion_to_beat() -> None:
    check = named(
        gate.judge(replace(GOOD, champion=None, champion_gain_lower=None), Thresholds()), "champion"
    )
    assert check.passed and "no champion" in check.text


def test_the_worst_regime_is_the_one_that_is_named() -> None:
    check = named(gate.judge(GOOD, Thresholds()), "regimes")
    assert check.value == 0.51 and "wild, falling" in check.text


def test_thresholds_come_from_the_config() -> None:
    strict = Thresholds.of({"auc": 0.6})
    assert not named(gate.judge(GOOD, strict), "AUC").passed
    assert named(gate.judge(GOOD, strict), "AUC").threshold == 0.6
    assert Thresholds.of({}) == Thresholds()


@pytest.mark.parametrize("changes", [{"acu": 0.5}, {"auc": "high"}, {"auc": True}, {"advisory": "AUC"}])
def test_a_threshold_that_is_none_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="gate"):
        Thresholds.of(changes)


def test_an_advisory_check_warns_and_does_not_block() -> None:
    limits = Thresholds.of({"advisory": ["deflated Sharpe"]})
    checks = gate.judge(replace(GOOD, deflated_sharpe=0.2), limits)
    assert named(checks, "deflated Sharpe").verdict == "warned"
    assert gate.passed(checks)
    with pytest.raises(UsageError, match="no check 'luck'"):
        gate.judge(GOOD, Thresholds.of({"advisory": ["luck"]}))


def test_the_table_shows_every_check_with_its_number_and_limit() -> None:
    checks = gate.judge(replace(GOOD, ece=0.0456), Thresholds())
    lines = gate.table(checks).splitlines()
    assert len(lines) == len(checks) + 1
    assert next(line for line in lines if " ECE " in line).startswith("failed")
    assert "0.0456" in gate.table(checks) and "at most 0.03" in gate.table(checks)
    assert "97.6% of the symbols; wanted: at least 95.0%" in gate.table(checks)
    assert lines[-1] == f"the gate is closed: 1 of {len(checks)} checks failed"
    assert gate.table(gate.judge(GOOD, Thresholds())).endswith("the gate is open")


def test_rows_for_a_report_hold_what_was_judged() -> None:
    checks = gate.judge(GOOD, Thresholds())
    rows = gate.rows(checks)
    assert [row["check"] for row in rows] == [check.name for check in checks]
    assert rows[0] == {
        "check": "data fresh", "verdict": "passed", "value": 1.0, "threshold": 3.0, "text": checks[0].text,
    }  # fmt: skip


def test_the_report_understands_the_rows() -> None:
    closed = wording.verdict(gate.rows(gate.judge(replace(GOOD, ece=0.5), Thresholds())))
    assert closed == ("Blocked: 1 of 17 checks failed (ECE).", "bad")
    assert wording.verdict(gate.rows(gate.judge(GOOD, Thresholds())))[1] == "good"


def test_thresholds_are_settings_of_a_run_that_the_command_line_changes():
    assert Thresholds.of(preset("quick")["gate"]) == Thresholds()
    changed = overridden(preset("quick"), ["gate.auc=0.52", 'gate.advisory=["drift"]'])
    assert Thresholds.of(changed["gate"]) == replace(Thresholds(), auc=0.52, advisory=("drift",))
    assert preset("quick")["gate"]["auc"] == Thresholds().auc
    with pytest.raises(UsageError, match="luck"):
        overridden(preset("quick"), ["gate.luck=1"])
