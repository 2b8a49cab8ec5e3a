"""Phases 5 to 7: how good the forecasts are, what they rest on, and whether the gate lets the model through."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perdure.pipelines.market.deployment import gate
from perdure.pipelines.market.deployment.records import content
from perdure.pipelines.market.deployment.registry import CHAMPION, Registry
from perdure.pipelines.market.evaluation import assessment, audits, drift, explanation
from perdure.pipelines.market.evaluation.forecasts import LOCKBOX, Forecasts
from perdure.pipelines.market.features import catalogue
from perdure.pipelines.market.learning.ensemble import Ensemble
from perdure.pipelines.market.learning.folds import Fold
from perdure.pipelines.market.learning.matrix import Matrix
from perdure.pipelines.market.models.catalogue import MODELS
from perdure.pipelines.market.models.training import chances

NAME = "market"
_AUDITED = 4000  # rows that the quick audits learn from
_TRUNCATED = 3  # symbols, and days of each, that are computed again without their future


@dataclass(frozen=True, slots=True)
class RegistryFile:
    """The registry beside the runs. What is in it is no part of a run's fingerprint: other runs add to it."""

    path: Path
    run: str

    def __perdure_fingerprint__(self) -> str:
        return "the registry"

    def require(self) -> None:
        """Better told now than after the training: raises what the registry does when it cannot take a model."""
        with Registry(self.path) as known:
            known.require_writable()


def forecasts_of(matrix: Matrix, combined: Mapping[str, Any], rows: np.ndarray | None = None) -> Forecasts:
    """The meta-learner's forecasts with what came true, of all rows or of some places among them."""
    places = np.arange(len(combined["rows"])) if rows is None else rows
    at = combined["rows"][places]
    base = {name: chances(combined["base"][places, k]) for k, name in enumerate(MODELS)}
    return Forecasts(
        day=matrix.day[at], symbol=np.array(matrix.symbols)[matrix.symbol[at]],
        sector=np.array(matrix.sectors)[matrix.symbol[at]], regime=matrix.regime[at], block=combined["block"][places],
        y=matrix.y[at], ret=matrix.ret[at], excess=matrix.excess[at], weight=matrix.weight[at],
        probability=combined["probability"][places], oracle=matrix.oracle[at], base=base,
    )  # fmt: skip


# -- evaluate ----------------------------------------------------------------------------------------------------


def evaluate(
    matrix: Matrix, folds: tuple[Fold, ...], combined: Mapping[str, Any], *, registry: RegistryFile, seed: int,
    resamples: int, horizon: int, stride: int,
) -> dict[str, Any]:  # fmt: skip
    """The assessment, with the audits and the drift. The lockbox is opened here, and that is logged."""
    digest = hashlib.sha256(combined["ensemble"]).hexdigest()
    with Registry(registry.path) as known:
        trials = len({trial.digest for trial in known.trials(NAME)} | {digest})
        known.open_lockbox(registry.run, why="evaluation of a trained ensemble")
    found = assessment.assess(
        forecasts_of(matrix, combined), trials=trials, seed=seed, resamples=resamples, horizon=horizon, stride=stride
    )  # fmt: skip
    final = folds[-1]
    return {
        "assessment": found,
        "audits": [asdict(audit) for audit in _audits(matrix, folds, seed)],
        "split_gap": _split_gap(matrix, folds, seed),
        "drift": drift.drift(matrix.x[final.train], matrix.x[final.test], catalogue.names()),
        "digest": digest,
    }


def _audits(matrix: Matrix, folds: tuple[Fold, ...], seed: int) -> list[audits.Audit]:
    """The purge of every fold, in one; and whether shuffled labels can be learnt."""
    overlaps = [audits.purge_overlap(matrix.day, matrix.t1, fold.train, fold.test) for fold in folds]
    worst = max(overlaps, key=lambda audit: audit.value)
    pairs = [(_thinned(fold.train), fold.test) for fold in folds[:-1]]
    return [worst, audits.label_shuffle(matrix.x, matrix.y, matrix.day, pairs, seed=seed)]


def _split_gap(matrix: Matrix, folds: tuple[Fold, ...], seed: int) -> dict[str, float]:
    """What a random split of some symbols would claim, beside the forward folds."""
    few = np.unique(matrix.symbol)[: max(1, _AUDITED * len(matrix.symbols) // len(matrix.y))]
    chosen = np.isin(matrix.symbol, few)
    pairs = [(fold.train[chosen[fold.train]], fold.test[chosen[fold.test]]) for fold in folds[:-1]]
    gap = audits.random_split_gap(matrix.x, matrix.y, matrix.day, pairs, seed=seed)
    return {"random": gap.random, "forward": gap.forward, "gap": gap.gap}


def _thinned(rows: np.ndarray) -> np.ndarray:
    """At most so many rows, evenly."""
    return rows[:: max(1, -(-len(rows) // _AUDITED))]


# -- explain -----------------------------------------------------------------------------------------------------


def explain(matrix: Matrix, fold: Fold, combined: Mapping[str, Any], *, count: int) -> dict[str, Any]:
    """SHAP values of the newest `count` samples by every model that has them, their sums checked.

    contributions: model -> (count, features + 1) float64; rows: (count,) of the matrix.
    """
    newest = fold.test[np.argsort(matrix.day[fold.test], kind="stable")][-count:]
    found = Ensemble.read(combined["ensemble"]).contributions(matrix.x[newest])
    values = {name: shares for name, (shares, _) in found.items()}
    sums = explanation.additivity(values, {name: score for name, (_, score) in found.items()})
    names = catalogue.names()
    group = {name: kind for kind, members in catalogue.groups().items() for name in members}
    return {
        "rows": newest,
        "contributions": values,
        "additivity": {name: asdict(check) for name, check in sums.items()},
        "not_explained": sorted(set(MODELS) - set(values)),
        "summary": explanation.summary(values, names, [group[name] for name in names]),
    }


# -- gate --------------------------------------------------------------------------------------------------------


def judge(
    matrix: Matrix, combined: Mapping[str, Any], result: Mapping[str, Any], *, unit: Callable[..., Any],
    last: Callable[..., str], asked: Mapping[str, Any], registry: RegistryFile, config: Mapping[str, Any], seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Register the model as a trial and as the challenger, and hold it against the gate.

    unit(company, days=...): features of a company on some days, from what was known then. last(company): the
    newest session of its source. asked: companies by symbol.
    """
    found = result["assessment"]
    with Registry(registry.path) as known:
        manifest = Ensemble.read(combined["ensemble"]).manifest
        champion = known.alias(NAME, CHAMPION)
        gain = _gain(matrix, combined, content(champion), seed) if champion is not None else None
        version = known.add(
            NAME, combined["ensemble"], run=registry.run, feature_digest=manifest["feature_digest"],
            trained_until=manifest["trained_until"], metrics=found["overall"],
        )  # fmt: skip
        against = champion.version if champion is not None and champion.version != version.version else None
        evidence = _evidence(
            result, against, gain, complete=len(matrix.symbols) / len(asked),
            age=_age(matrix, asked, last, config["source"]), truncation=_sees_no_future(matrix, unit, asked),
        )  # fmt: skip
        checks = gate.judge(evidence, gate.Thresholds.of(config["gate"]))
        known.record_trial(
            NAME, digest=result["digest"], run=registry.run, config=config, metrics=found["overall"]
        )
        known.record_gate(NAME, version.version, checks, against=against)
    return {
        "checks": gate.rows(checks), "table": gate.table(checks), "passed": gate.passed(checks),
        "version": version.version,
    }  # fmt: skip


def _age(matrix: Matrix, asked: Mapping[str, Any], last: Callable[..., str], source: str) -> float:
    """Business days since the newest session; a made market ends when it ends."""
    if source == "synthetic":
        return 0.0
    return float(np.busday_count(last(asked[matrix.symbols[0]]), np.datetime64("today")))


def _sees_no_future(matrix: Matrix, unit: Callable[..., Any], asked: Mapping[str, Any]) -> bool:
    """Whether features computed without the days that follow have the bits of the samples."""
    chosen = np.unique(np.linspace(0, len(matrix.symbols) - 1, _TRUNCATED).round().astype(int))
    for number in chosen:
        rows = np.flatnonzero(matrix.symbol == number)
        rows = rows[np.unique(np.linspace(0, len(rows) - 1, _TRUNCATED).round().astype(int))]
        again = unit(asked[matrix.symbols[number]], days=[str(day) for day in matrix.day[rows]])
        if not np.array_equal(again.astype(np.float32), matrix.x[rows], equal_nan=True):
            return False
    return True


def _evidence(
    result: Mapping[str, Any], against: int | None, gain: float | None, *, complete: float, age: float,
    truncation: bool,
) -> gate.Evidence:  # fmt: skip
    found = result["assessment"]
    overall, portfolio = found["overall"], found["portfolio"]
    return gate.Evidence(
        data_age=age, symbols_complete=complete,
        psi=[feature["psi"] for feature in result["drift"]["features"]],
        audits={"right truncation": truncation} | {audit["name"]: audit["passed"] for audit in result["audits"]},
        auc=overall["auc"]["value"], auc_lower=overall["auc"]["low"], rank_ic=overall["rank_ic"]["value"],
        ece=overall["ece"]["value"], sharpe=portfolio["sharpe"], net_return=overall["net_return"]["value"],
        regimes={one["regime"]: gate.Regime(one["dates"], one["auc"]["value"]) for one in found["by_regime"]},
        blocks=[one["auc"]["value"] for one in found["by_block"]], deflated_sharpe=portfolio["deflated_sharpe"],
        trials=found["trials"], champion=against, champion_gain_lower=gain,
    )  # fmt: skip


def _gain(matrix: Matrix, combined: Mapping[str, Any], champion: bytes, seed: int) -> float | None:
    """Lower end of AUC(this) - AUC(champion) over the lockbox, on days that neither was trained on."""
    rival = Ensemble.read(champion)
    late = combined["block"] == LOCKBOX
    late &= matrix.day[combined["rows"]] > np.datetime64(rival.manifest["trained_until"])
    if rival.manifest["feature_digest"] != catalogue.digest() or not late.any():
        return None
    places = np.flatnonzero(late)
    rows = combined["rows"][places]
    theirs = combined["probability"].copy()
    theirs[places] = rival.probabilities(matrix.x[rows], matrix.regime[rows])
    mine = forecasts_of(matrix, combined, places)
    other = forecasts_of(matrix, {**combined, "probability": theirs}, places)
    compared = assessment.compare(other, mine, seed=seed, resamples=500)
    low = compared["auc"]["low"]
    return None if low is None else float(low)
