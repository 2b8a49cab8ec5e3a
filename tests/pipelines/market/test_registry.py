"""The registry: versions, aliases, promotion and rollback, by two processes at once and killed at any statement."""

from __future__ import annotations

import hashlib
import itertools
import math
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perdure.errors import DamagedError, FormatError, LockedError, PerdureError, UsageError
from perdure.pipelines.market.deployment import ledger, records
from perdure.pipelines.market.deployment.gate import Check
from perdure.pipelines.market.deployment.records import ModelVersion
from perdure.pipelines.market.deployment.registry import CHALLENGER, CHAMPION, Registry
from processes import KILLED, environment

PASSED = (
    Check("AUC", True, 0.55, 0.515, "0.55 out of fold"),
    Check("champion", True, None, None, "no champion"),
)
FAILED = (PASSED[0], Check("ECE", False, 0.2, 0.03, "0.2 expected calibration error"))
STORY = """
import sys
from pathlib import Path
from perdure.pipelines.market.deployment.gate import Check
from perdure.pipelines.market.deployment.registry import Registry

with Registry(Path(sys.argv[1])) as registry:
    for content, against in ((b"first", None), (b"second", 1)):
        registry.record_trial("market", digest=content.hex(), run="r", config={}, metrics={})
        facts = {"run": "r", "feature_digest": "f", "trained_until": "2024-01-02", "metrics": {}}
        added = registry.add("market", content, **facts)
        registry.record_gate("market", added.version, [Check("AUC", True, 0.5, 0.4, "")], against=against)
        registry.promote("market", who="me")
    registry.rollback("market", who="me")
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    times = itertools.count(1000)
    with Registry(tmp_path / "runs" / "registry.db", now=lambda: float(next(times))) as opened:
        yield opened


def add(registry: Registry, content: bytes = b"model", **changes: Any) -> ModelVersion:
    facts: dict[str, Any] = {
        "run": "runs/market", "feature_digest": "f00d", "trained_until": "2024-05-31", "metrics": {"auc": 0.55},
    }  # fmt: skip
    return registry.add("market", content, **facts | changes)


def promoted(registry: Registry, content: bytes) -> int:
    """A new version that passed the gate and is the champion."""
    version, champion = add(registry, content).version, registry.alias("market")
    registry.record_gate("market", version, PASSED, against=champion.version if champion else None)
    return registry.promote("market", version, who="me").version


def champion(registry: Registry) -> int | None:
    found = registry.alias("market", CHAMPION)
    return None if found is None else found.version


# -- what is stored ----------------------------------------------------------------------------------------------


def test_an_added_model_is_stored_under_its_digest_and_waits_as_challenger(registry: Registry) -> None:
    added = add(registry)
    digest = hashlib.sha256(b"model").hexdigest()
    assert added.path == registry.path.parent / "models" / f"{digest}.zip"
    assert records.content(added) == b"model"
    assert (added.version, added.digest, added.metrics) == (1, digest, {"auc": 0.55})
    assert registry.alias("market", CHALLENGER) == added
    assert champion(registry) is None


def test_versions_count_up_and_the_same_bytes_keep_theirs(registry: Registry) -> None:
    first, second = add(registry), add(registry, b"other")
    assert (first.version, second.version) == (1, 2)
    assert add(registry) == first
    assert registry.versions("market") == (first, second)
    assert registry.alias("market", CHALLENGER) == second


def test_another_model_s_versions_are_its_own(registry: Registry) -> None:
    add(registry)
    facts = {"run": "r", "feature_digest": "f", "trained_until": "2024-01-02", "metrics": {}}
    assert registry.add("crypto", b"model", **facts).version == 1
    assert len(registry.versions("market")) == 1


def test_a_model_file_that_was_changed_is_not_given_out(registry: Registry) -> None:
    added = add(registry)
    added.path.write_bytes(b"modem")
    with pytest.raises(DamagedError, match="version 1 of market"):
        records.content(added)
    added.path.unlink()
    with pytest.raises(DamagedError, match="lost its file"):
        records.content(added)


def test_a_damaged_model_file_is_mended_by_adding_the_model_again(registry: Registry) -> None:
    added = add(registry)
    added.path.write_bytes(b"modem")
    assert records.content(add(registry)) == b"model"
    assert added.path.with_name(f"{added.path.name}.damaged-1").read_bytes() == b"modem"


def test_runs_may_move_with_their_registry(registry: Registry, tmp_path: Path) -> None:
    add(registry)
    registry.path.parent.rename(tmp_path / "elsewhere")
    with Registry(tmp_path / "elsewhere" / "registry.db") as moved:
        assert records.content(moved.version("market", 1)) == b"model"


def test_a_trial_that_is_recorded_again_counts_once(registry: Registry) -> None:
    for digest, auc in (("aa", 0.5), ("bb", 0.6), ("aa", 0.51)):
        registry.record_trial("market", digest=digest, run="r", config={"horizon": 10}, metrics={"auc": auc})
    trials = registry.trials("market")
    assert [(one.digest, one.metrics["auc"]) for one in trials] == [("aa", 0.51), ("bb", 0.6)]
    assert trials[0].config == {"horizon": 10}


def test_numbers_that_are_not_finite_come_back_as_nothing(registry: Registry) -> None:
    assert add(registry, metrics={"auc": math.nan, "by": [math.inf, 1.0]}).metrics == {
        "auc": None,
        "by": [None, 1.0],
    }


def test_every_opening_of_the_lockbox_is_logged(registry: Registry) -> None:
    assert registry.open_lockbox("runs/a", why="final test") == 1
    assert registry.open_lockbox("runs/a", why="again") == 2
    assert [(run, why) for run, _, why in registry.lockbox_openings()] == [
        ("runs/a", "final test"),
        ("runs/a", "again"),
    ]


# -- the gate ----------------------------------------------------------------------------------------------------


def test_every_verdict_is_stored_with_its_number(registry: Registry) -> None:
    add(registry)
    registry.record_gate("market", 1, FAILED, against=None)
    found = registry.gate("market", 1)
    assert [(v.check, v.verdict, v.value, v.threshold) for v in found] == [
        ("AUC", "passed", 0.55, 0.515), ("ECE", "failed", 0.2, 0.03)
    ]  # fmt: skip


def test_the_newest_judgement_counts_and_the_same_one_is_recorded_once(registry: Registry) -> None:
    add(registry)
    registry.record_gate("market", 1, FAILED, against=None)
    registry.record_gate("market", 1, PASSED, against=None)
    at = registry.gate("market", 1)[0].at
    registry.record_gate("market", 1, PASSED, against=None)
    assert [one.verdict for one in registry.gate("market", 1)] == ["passed", "passed"]
    assert registry.gate("market", 1)[0].at == at


def test_a_judgement_without_checks_or_of_no_model_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match="no version 1 of market; it has none at all"):
        registry.record_gate("market", 1, PASSED, against=None)
    add(registry)
    with pytest.raises(UsageError, match="judges nothing"):
        registry.record_gate("market", 1, (), against=None)


# -- promotion ---------------------------------------------------------------------------------------------------


def test_the_challenger_is_promoted_and_waits_no_longer(registry: Registry) -> None:
    add(registry)
    registry.record_gate("market", 1, PASSED, against=None)
    done = registry.promote("market", who="ada")
    assert (done.action, done.version, done.replaced, done.who, done.forced) == (
        "promote",
        1,
        None,
        "ada",
        False,
    )
    assert champion(registry) == 1
    assert registry.alias("market", CHALLENGER) is None
    with pytest.raises(UsageError, match="version 1 is the champion"):
        registry.promote("market", who="ada")


def test_what_the_gate_never_judged_is_not_promoted(registry: Registry) -> None:
    add(registry)
    with pytest.raises(UsageError, match="has not judged"):
        registry.promote("market", who="me")
    assert champion(registry) is None and registry.deployments("market") == ()


def test_what_the_gate_failed_is_not_promoted_and_the_number_is_named(registry: Registry) -> None:
    add(registry)
    registry.record_gate("market", 1, FAILED, against=None)
    with pytest.raises(UsageError, match=r"0\.2 expected calibration error"):
        registry.promote("market", who="me")
    assert champion(registry) is None


def test_a_warning_does_not_stop_a_promotion(registry: Registry) -> None:
    add(registry)
    advisory = Check("ECE", False, 0.2, 0.03, "too much", blocking=False)
    registry.record_gate("market", 1, (PASSED[0], advisory), against=None)
    assert registry.promote("market", who="me").version == 1


def test_a_verdict_against_another_champion_does_not_count(registry: Registry) -> None:
    promoted(registry, b"first")
    add(registry, b"second")
    registry.record_gate("market", 2, PASSED, against=None)
    with pytest.raises(UsageError, match="against no champion, and there is champion 1 now"):
        registry.promote("market", 2, who="me")


def test_force_promotes_all_the_same_and_keeps_its_reason(registry: Registry) -> None:
    add(registry)
    done = registry.promote("market", who="me", force="a demonstration")
    assert champion(registry) == 1
    assert (done.forced, done.reason) == (True, "a demonstration")


def test_force_without_a_reason_is_refused(registry: Registry) -> None:
    add(registry)
    with pytest.raises(UsageError, match="needs a reason"):
        registry.promote("market", who="me", force=" ")


def test_a_promotion_made_again_changes_nothing(registry: Registry) -> None:
    promoted(registry, b"first")
    assert registry.promote("market", 1, who="me").number == 1
    assert len(registry.deployments("market")) == 1


def test_what_does_not_exist_cannot_be_promoted(registry: Registry) -> None:
    add(registry)
    with pytest.raises(UsageError, match="no version 7 of market; it has 1"):
        registry.promote("market", 7, who="me", force="why not")


# -- rollback ----------------------------------------------------------------------------------------------------


def test_a_rollback_makes_the_version_before_champion_again(registry: Registry) -> None:
    promoted(registry, b"first")
    promoted(registry, b"second")
    done = registry.rollback("market", who="me", reason="it loses")
    assert (done.version, done.replaced, done.reason, champion(registry)) == (1, 2, "it loses", 1)


def test_rollbacks_walk_back_through_all_promotions(registry: Registry) -> None:
    for content in (b"first", b"second", b"third"):
        promoted(registry, content)
    registry.rollback("market", who="me")
    assert registry.promote("market", 1, who="me", force="older is better").replaced == 2
    assert [registry.rollback("market", who="me").version for _ in range(2)] == [2, 1]
    with pytest.raises(UsageError, match="none before it"):
        registry.rollback("market", who="me")


def test_a_version_that_was_rolled_back_can_be_promoted_again(registry: Registry) -> None:
    promoted(registry, b"first")
    promoted(registry, b"second")
    registry.rollback("market", who="me")
    assert registry.promote("market", 2, who="me").replaced == 1
    assert [one.action for one in registry.deployments("market")] == [
        "promote",
        "promote",
        "rollback",
        "promote",
    ]


def test_a_version_whose_file_was_lost_is_not_promoted_and_the_champion_stays(registry: Registry) -> None:
    first = promoted(registry, b"first")
    second = add(registry, b"second")
    registry.record_gate("market", second.version, PASSED, against=first)
    second.path.unlink()
    with pytest.raises(DamagedError, match="lost its file"):
        registry.promote("market", who="me", force="all the same")
    assert champion(registry) == first


def test_there_is_nothing_to_roll_back_before_a_promotion(registry: Registry) -> None:
    add(registry)
    with pytest.raises(UsageError, match="ever promoted"):
        registry.rollback("market", who="me")
    promoted(registry, b"model")
    with pytest.raises(UsageError, match="first champion"):
        registry.rollback("market", who="me")
    assert champion(registry) == 1


# -- the file ----------------------------------------------------------------------------------------------------


def test_a_registry_that_must_be_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="perdure run market"):
        Registry.existing(tmp_path / "registry.db")
    assert not (tmp_path / "registry.db").exists()


def test_a_newer_registry_is_refused_and_left_alone(registry: Registry) -> None:
    with sqlite3.connect(registry.path) as raw:
        raw.execute("PRAGMA user_version=2")
    with pytest.raises(FormatError, match="format 2"):
        Registry(registry.path)


def test_a_file_that_is_no_database_is_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DamagedError, match="is damaged"):
        Registry(tmp_path / "registry.db")


def test_an_emptied_registry_beside_stored_models_is_damaged_and_no_new_one(registry: Registry) -> None:
    add(registry, b"first")
    registry.path.write_bytes(b"")
    with pytest.raises(DamagedError, match="it is empty"):
        Registry(registry.path)
    assert registry.path.read_bytes() == b""


def use(path: Path) -> None:
    with Registry(path) as registry:
        registry.versions("market")
        registry.trials("market")
        registry.alias("market")
        registry.gate("market", 1)
        registry.rollback("market", who="me")


def test_a_flipped_bit_is_told_as_damage_by_whoever_stumbles_over_it(
    registry: Registry, tmp_path: Path
) -> None:
    for content in (b"first", b"second"):
        registry.record_trial("market", digest=content.hex(), run="r", config={"a": 1}, metrics={"auc": 0.5})
        registry.record_gate("market", add(registry, content).version, PASSED, against=None)
        registry.promote("market", who="me", force="a test")
    whole = registry.path.read_bytes()
    places = [place for place, byte in enumerate(whole) if byte]
    chance, path, told = random.Random(1), tmp_path / "runs" / "harmed.db", 0
    for _ in range(150):
        harmed = bytearray(whole)
        harmed[chance.choice(places)] ^= 1 << chance.randrange(8)
        path.write_bytes(harmed)
        try:
            use(path)
        except PerdureError as error:  # anything else is a traceback that a person would see
            told += "is damaged" in str(error)
        path.unlink()
    assert told > 75


def test_a_registry_that_another_process_keeps_is_locked(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "_PATIENCE", 0.01)
    with (
        Registry(registry.path) as other,
        registry._ledger.transaction(),
        pytest.raises(LockedError, match="another"),
    ):
        add(other)


# -- processes ---------------------------------------------------------------------------------------------------


def story(path: Path, **variables: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", STORY, str(path)]
    return subprocess.Popen(
        words, env=environment(path.parent, **variables), stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> int:
    _, errors = process.communicate(timeout=60)
    assert process.returncode in {0, KILLED}, errors
    return process.returncode


def assert_consistent(path: Path) -> None:
    """The champion is what the newest deployment made it, and every version has its file."""
    with Registry(path) as registry:
        assert registry._ledger.rows("PRAGMA integrity_check")[0][0] == "ok"
        assert registry._ledger.rows("PRAGMA foreign_key_check") == []
        log = registry.deployments("market")
        assert champion(registry) == (log[-1].version if log else None)
        assert [one.replaced for one in log[1:]] == [one.version for one in log[:-1]]
        versions = registry.versions("market")
        assert [one.version for one in versions] == [1, 2][: len(versions)]
        assert len(versions) <= len(registry.trials("market")) <= 2
        assert all(records.content(one) for one in versions)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_process_killed_at_any_statement_leaves_it_consistent_and_able_to_go_on(tmp_path: Path) -> None:
    log = tmp_path / "seams"
    assert finish(story(tmp_path / "whole" / "registry.db", PERDURE_SEAM_LOG=str(log))) == 0
    seams = log.read_text().split()
    assert {"registry.begin", "registry.statement", "registry.commit", "registry.committed"} <= set(seams)
    for number in range(1, len(seams) + 1):
        path = tmp_path / str(number) / "registry.db"
        assert finish(story(path, PERDURE_KILL_AT=f"#{number}")) == KILLED
        assert_consistent(path)
        with Registry(path) as registry:
            assert add(registry, b"next").version == len(registry.versions("market"))
            assert registry.promote("market", who="me", force="it goes on").action == "promote"


def test_processes_at_once_lose_nothing_and_agree(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    code = STORY.split("with Registry")[0] + (
        "with Registry(Path(sys.argv[1])) as registry:\n"
        "    for k in range(15):\n"
        "        added = registry.add('market', f'{sys.argv[2]} {k}'.encode(), run='r', feature_digest='f',\n"
        "                             trained_until='2024-01-02', metrics={})\n"
        "        registry.promote('market', added.version, who=sys.argv[2], force='a race')\n"
    )
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(path), who],
            env=environment(tmp_path),
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in ("a", "b")
    ]
    assert [finish(one) for one in racers] == [0, 0]
    with Registry(path) as registry:
        assert [one.version for one in registry.versions("market")] == list(range(1, 31))
        log = registry.deployments("market")
        assert len(log) == 30 and champion(registry) == log[-1].version
        assert [one.replaced for one in log] == [None, *(one.version for one in log[:-1])]
