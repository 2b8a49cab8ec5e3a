"""The gate: what a model must have shown before it may be promoted, check by check, each with its number.

A number that is missing or not finite is a failed check that says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from perdure.errors import UsageError

AUDITS = ("right truncation", "purge overlap", "label shuffle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the gate asks for. advisory: names of checks that only warn when they fail."""

    data_age: float = 3.0  # business days between the newest session and now; three, for long weekends
    symbols_complete: float = 0.95  # share of the symbols that were asked for
    psi: float = 0.25  # population stability index from which a feature counts as drifted
    stable_features: float = 0.95  # share of the features below it
    leak_auc: float = 0.65  # no honest forecast of daily returns is that good
    leak_sharpe: float = 4.0
    auc: float = 0.515
    auc_lower: float = 0.5  # lower end of the 95% interval
    rank_ic: float = 0.02
    ece: float = 0.03
    regime_auc: float = 0.5
    regime_dates: int = 100  # a regime of fewer is not judged
    block_auc: float = 0.5
    blocks: int = 4  # forward blocks (of five) above it
    net_return: float = 0.0  # of the long-short quintiles, after 5 bp a side
    deflated_sharpe: float = 0.95  # probability that the true Sharpe ratio beats the luckiest of all trials
    champion_loss: float = (
        0.005  # AUC that may be lost against the champion, at the lower end of the 95% interval
    )
    advisory: tuple[str, ...] = ()

    @classmethod
    def of(cls, changes: Mapping[str, Any]) -> Thresholds:
        """The defaults with `changes` of the config. Raises UsageError for a name or a value that is none."""
        known = {one.name for one in fields(cls)}
        for name, value in changes.items():
            if name not in known:
                raise UsageError(f"the gate has no threshold {name!r}; there are {', '.join(sorted(known))}")
            if name != "advisory" and not _is_number(value):
                raise UsageError(f"the gate's threshold {name} is {value!r}; it must be a number")
        named = changes.get("advisory", ())
        if not isinstance(named, list | tuple) or not all(isinstance(one, str) for one in named):
            raise UsageError(f"the gate's advisory is {named!r}; it must be a list of names of checks")
        return replace(cls(), **{**changes, "advisory": tuple(named)})


@dataclass(frozen=True, slots=True)
class Regime:
    """How the model does in one regime; dates: how many sessions were in it."""

    dates: int
    auc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the gate judges; None is a number that nobody has.

    data_age: business days since the newest session. symbols_complete: share. psi: one number a feature.
    audits: name -> whether it passed. auc, auc_lower, rank_ic, ece: out of fold, over all forward blocks.
    sharpe: of the long-short portfolio after costs, a year. net_return: its mean return. blocks: AUC of each.
    deflated_sharpe: a probability. champion: the version compared with, None without one; champion_gain_lower:
    lower end of the 95% interval of AUC(this) - AUC(champion) on the same days, by a paired block bootstrap.
    """

    data_age: float | None = None
    symbols_complete: float | None = None
    psi: Sequence[float] = ()
    audits: Mapping[str, bool | None] = field(default_factory=dict)
    auc: float | None = None
    auc_lower: float | None = None
    rank_ic: float | None = None
    ece: float | None = None
    sharpe: float | None = None
    net_return: float | None = None
    regimes: Mapping[str, Regime] = field(default_factory=dict)
    blocks: Sequence[float | None] = ()
    deflated_sharpe: float | None = None
    trials: int = 0
    champion: int | None = None
    champion_gain_lower: float | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict, its number, and what the number was held against. blocking: a failure stops a promotion."""

    name: str
    passed: bool
    value: float | None
    threshold: float | None
    text: str
    blocking: bool = True

    @property
    def verdict(self) -> str:
        """passed, failed, or warned for a failure that does not block."""
        return "passed" if self.passed else "failed" if self.blocking else "warned"


def judge(evidence: Evidence, thresholds: Thresholds) -> tuple[Check, ...]:
    """All checks, in the order of the report. Raises UsageError when `advisory` names none of them."""
    checks = [
        *_of_data(evidence, thresholds), *_of_audits(evidence), *_of_leaks(evidence, thresholds),
        *_of_skill(evidence, thresholds), _of_regimes(evidence, thresholds), _of_blocks(evidence, thresholds),
        *_of_money(evidence, thresholds), _of_champion(evidence, thresholds),
    ]  # fmt: skip
    names = [check.name for check in checks]
    for name in thresholds.advisory:
        if name not in names:
            raise UsageError(
                f"the gate has no check {name!r} that could be advisory; there are {', '.join(names)}"
            )
    return tuple(replace(check, blocking=check.name not in thresholds.advisory) for check in checks)


def passed(checks: Sequence[Check]) -> bool:
    """Whether the model may be promoted."""
    return bool(checks) and all(check.verdict != "failed" for check in checks)


def _of_data(evidence: Evidence, limits: Thresholds) -> Iterator[Check]:
    yield _fresh(evidence.data_age, limits.data_age)
    yield _least(
        "symbols complete", evidence.symbols_complete, limits.symbols_complete, "of the symbols", ".1%"
    )
    drift = [float(value) for value in evidence.psi]
    share = (
        sum(value < limits.psi for value in drift) / len(drift) if drift else None
    )  # NaN counts as drifted
    yield _least(
        "drift", share, limits.stable_features, f"of the features have a PSI below {limits.psi:g}", ".1%"
    )


def _fresh(age: float | None, limit: float) -> Check:
    name = "data fresh"
    if age is not None and age < -1:  # a day ahead is another time zone's
        what = f"the newest session lies {-age:.0f} business days in the future"
        return Check(name, False, age, limit, what)
    return _most(name, age, limit, "business days since the newest session")


def _of_audits(evidence: Evidence) -> Iterator[Check]:
    for name in AUDITS:
        found = evidence.audits.get(name)
        text = "was not made" if found is None else "passed" if found else "found a leak"
        yield Check(f"audit: {name}", bool(found), None if found is None else float(found), 1.0, text)


def _of_leaks(evidence: Evidence, limits: Thresholds) -> Iterator[Check]:
    why = "more would be a suspected leak"
    yield _most("leak: AUC", evidence.auc, limits.leak_auc, f"out of fold, and {why}")
    yield _most("leak: Sharpe", evidence.sharpe, limits.leak_sharpe, f"a year after costs, and {why}")


def _of_skill(evidence: Evidence, limits: Thresholds) -> Iterator[Check]:
    yield _least("AUC", evidence.auc, limits.auc, "out of fold")
    yield _above("AUC, lower bound", evidence.auc_lower, limits.auc_lower, "lower end of the 95% interval")
    yield _least("rank IC", evidence.rank_ic, limits.rank_ic, "mean over the sessions")
    yield _most("ECE", evidence.ece, limits.ece, "expected calibration error")


def _of_regimes(evidence: Evidence, limits: Thresholds) -> Check:
    """The worst regime counts."""
    name, counted = "regimes", {k: v for k, v in evidence.regimes.items() if v.dates >= limits.regime_dates}
    if not counted:
        text = f"no regime has {limits.regime_dates} dates, so that none was judged"
        return Check(name, False, None, limits.regime_auc, text)
    unknown = [regime for regime, found in counted.items() if _missing(found.auc)]
    if unknown:
        return Check(name, False, None, limits.regime_auc, f"the AUC is missing in {', '.join(unknown)}")
    worst, auc = min(
        ((regime, found.auc or 0.0) for regime, found in counted.items()), key=lambda one: one[1]
    )
    return _least(name, auc, limits.regime_auc, f"AUC in {worst}, the worst of {len(counted)}")


def _of_blocks(evidence: Evidence, limits: Thresholds) -> Check:
    if not evidence.blocks:
        return Check("blocks", False, None, limits.blocks, "the AUC of the forward blocks is missing")
    above = sum(
        1 for auc in evidence.blocks if auc is not None and auc > limits.block_auc
    )  # NaN is not above
    what = f"of {len(evidence.blocks)} forward blocks have an AUC above {limits.block_auc:g}"
    return _least("blocks", above, limits.blocks, what)


def _of_money(evidence: Evidence, limits: Thresholds) -> Iterator[Check]:
    yield _above("net return", evidence.net_return, limits.net_return, "long-short quintiles after costs")
    what = f"probability of skill, given {evidence.trials} trials"
    yield _least("deflated Sharpe", evidence.deflated_sharpe, limits.deflated_sharpe, what)


def _of_champion(evidence: Evidence, limits: Thresholds) -> Check:
    if evidence.champion is None:
        return Check("champion", True, None, None, "there is no champion yet")
    what = f"AUC gained on champion {evidence.champion}, lower end of the 95% interval"
    return _least("champion", evidence.champion_gain_lower, -limits.champion_loss, what)


def _least(name: str, value: float | None, limit: float, what: str, form: str = ".4g") -> Check:
    return _compared(name, value, limit, what, "at least", lambda found: found >= limit, form)


def _above(name: str, value: float | None, limit: float, what: str) -> Check:
    return _compared(name, value, limit, what, "more than", lambda found: found > limit)


def _most(name: str, value: float | None, limit: float, what: str) -> Check:
    return _compared(name, value, limit, what, "at most", lambda found: found <= limit)


def _compared(
    name: str, value: float | None, limit: float, what: str, sense: str, holds: Callable[[float], bool],
    form: str = ".4g",
) -> Check:  # fmt: skip
    wanted = f"{what}; wanted: {sense} {limit:{form}}"
    if value is None or _missing(value):
        return Check(name, False, None, limit, f"missing: {wanted}")
    found = float(value)
    return Check(name, holds(found), found, limit, f"{found:{form}} {wanted}")


def _is_number(value: object) -> bool:
    """Whether a threshold can be compared with; NaN and infinity would make a check that cannot fail, or pass."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _missing(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def table(checks: Sequence[Check]) -> str:
    """The verdicts for a terminal: one line a check, and a last line for the whole."""
    width = max(len(check.name) for check in checks)
    lines = [f"{check.verdict:<6}  {check.name:<{width}}  {check.text}" for check in checks]
    failed = sum(check.verdict == "failed" for check in checks)
    whole = f"the gate is closed: {failed} of {len(checks)} checks failed" if failed else "the gate is open"
    return "\n".join([*lines, whole])


def rows(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """The verdicts for a report, as JSON takes them."""
    return [
        {"check": c.name, "verdict": c.verdict, "value": c.value, "threshold": c.threshold, "text": c.text}
        for c in checks
    ]
