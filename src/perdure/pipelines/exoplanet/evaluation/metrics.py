"""What the test set says of a model: metrics, intervals by star, and tables by kind and by signal strength."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.evaluation import ranking
from perdure.pipelines.exoplanet.evaluation.ranking import Ranking

NAMES = (
    "auc",
    "average_precision",
    "recall_at_1pct_fpr",
    "recall_at_precision_99",
    "brier",
    "calibration_error",
)
MES_EDGES = (0.0, 7.0, 10.0, 15.0, 30.0, 100.0, math.inf)


def evaluate(
    probability: np.ndarray,
    label: np.ndarray,
    star: np.ndarray,
    columns: Mapping[str, np.ndarray],
    *,
    seed: int,
    threshold: float = 0.5,
    resamples: int = 1000,
) -> dict[str, Any]:
    """All metrics of a test set, as a document of plain JSON values (None where one is undefined).

    probability: (n,) in [0, 1]. label: (n,) 0 or 1. star: (n,) identifiers; curves of one star are drawn
    together by the bootstrap. columns: `kind` and `mes` give the tables of those names, when present.
    Raises UsageError for arrays of different lengths, unknown labels, or values that are no probabilities.
    """
    probability, label = _checked(probability, label, star)
    value = _metrics(Ranking.of(probability, label), probability, label, None)
    intervals = bootstrap(probability, label, star, seed=seed, resamples=resamples)
    document: dict[str, Any] = {
        "n": len(label),
        "stars": len(np.unique(star)),
        "positives": int(label.sum()),
        "prevalence": _number(label.mean()) if len(label) else None,
        "threshold": threshold,
        "confusion": confusion(probability, label, threshold=threshold),
        "metrics": {
            name: {"value": _number(value[i]), "low": _number(low), "high": _number(high)}
            for i, (name, (low, high)) in enumerate(zip(NAMES, intervals, strict=True))
        },
        "resamples": resamples,
    }
    if "kind" in columns:
        document["by_kind"] = by_kind(probability, label, columns["kind"], threshold=threshold)
    if "mes" in columns:
        document["by_mes"] = by_mes(probability, label, columns["mes"], threshold=threshold)
    return document


def confusion(probability: np.ndarray, label: np.ndarray, *, threshold: float) -> dict[str, int]:
    """Counts at a threshold; a probability equal to it counts as a planet."""
    planet, called = np.asarray(label) == 1, np.asarray(probability) >= threshold
    return {
        "true_positive": int((planet & called).sum()),
        "false_positive": int((~planet & called).sum()),
        "false_negative": int((planet & ~called).sum()),
        "true_negative": int((~planet & ~called).sum()),
    }


def bootstrap(
    probability: np.ndarray, label: np.ndarray, star: np.ndarray, *, seed: int, resamples: int = 1000
) -> list[tuple[float, float]]:
    """95% percentile intervals of NAMES, resampling stars with replacement; NaN where always undefined.

    The calibration error is a mean of absolute gaps, which resampling widens: its draws count less that bias
    (Efron & Tibshirani 1993, chapter 10), and never below 0.
    """
    _, member = np.unique(star, return_inverse=True)
    stars = int(member.max(initial=-1)) + 1
    ranked, rng = Ranking.of(probability, label), np.random.default_rng([seed, 0])
    draws = np.full((resamples, len(NAMES)), math.nan)
    for i in range(resamples if stars else 0):
        times = np.bincount(rng.integers(0, stars, stars), minlength=stars)
        draws[i] = _metrics(ranked, probability, label, times[member].astype(np.float64))
    error = draws[:, NAMES.index("calibration_error")]
    if np.isfinite(error).any():
        found = ranking.calibration_error(probability, label)
        error[:] = np.maximum(error - (np.nanmean(error) - found), 0.0)
    return [_interval(draws[:, i], 0.95) for i in range(len(NAMES))]


def null_interval(
    probability: np.ndarray, label: np.ndarray, *, seed: int, permutations: int = 1000, level: float = 0.99
) -> tuple[float, float]:
    """Where the AUC of these predictions lies when labels are dealt at random."""
    label = np.asarray(label)
    ranked, rng = (
        Ranking.of(np.asarray(probability, dtype=np.float64), label),
        np.random.default_rng([seed, 1]),
    )
    draws = np.empty(permutations)
    for i in range(permutations):
        shuffled = Ranking(ranked.order, rng.permutation(ranked.label), ranked.ends)
        draws[i] = ranking.auc(shuffled.counts())
    return _interval(draws, level)


def by_kind(
    probability: np.ndarray, label: np.ndarray, kind: np.ndarray, *, threshold: float = 0.5
) -> list[dict[str, Any]]:
    """For each kind of negative: how many, how many were called planets, and the planets' AUC against it."""
    planet = label == 1
    rows = []
    for name in np.unique(kind[~planet]):
        these = ~planet & (kind == name)
        chosen = planet | these
        area = ranking.auc(Ranking.of(probability[chosen], label[chosen]).counts())
        rows.append(
            {
                "kind": str(name),
                "n": int(these.sum()),
                "false_positives": int((probability[these] >= threshold).sum()),
                "false_positive_rate": _number((probability[these] >= threshold).mean()),
                "auc": _number(area),
            }
        )
    return rows


def by_mes(
    probability: np.ndarray,
    label: np.ndarray,
    mes: np.ndarray,
    *,
    threshold: float = 0.5,
    edges: tuple[float, ...] = MES_EDGES,
) -> list[dict[str, Any]]:
    """For planets in each range of the multiple-event statistic: recall, and AUC against all negatives."""
    planet = label == 1
    rows = []
    for low, high in pairwise(edges):
        these = planet & (mes >= low) & (mes < high)
        if not these.any():
            continue
        chosen = these | ~planet
        area = ranking.auc(Ranking.of(probability[chosen], label[chosen]).counts())
        rows.append(
            {
                "low": low,
                "high": _number(high),
                "n": int(these.sum()),
                "recall": _number((probability[these] >= threshold).mean()),
                "auc": _number(area),
            }
        )
    return rows


def _checked(probability: np.ndarray, label: np.ndarray, star: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probability, label = np.asarray(probability, dtype=np.float64), np.asarray(label)
    if not len(probability) == len(label) == len(star):
        raise UsageError(
            f"{len(probability)} probabilities, {len(label)} labels, {len(star)} stars; give one each"
        )
    if not np.isin(label, (0, 1)).all():
        raise UsageError("labels must be 0 or 1; leave curves of unknown label out of the evaluation")
    if not ((probability >= 0) & (probability <= 1)).all():
        raise UsageError("probabilities must lie in [0, 1]; a NaN here means that training has diverged")
    return probability, label


def _metrics(
    ranked: Ranking, probability: np.ndarray, label: np.ndarray, weight: np.ndarray | None
) -> tuple[float, ...]:
    """In the order of NAMES."""
    counts = ranked.counts(weight)
    return (
        ranking.auc(counts),
        ranking.average_precision(counts),
        ranking.recall_at_false_positive_rate(counts, 0.01),
        ranking.recall_at_precision(counts, 0.99),
        ranking.brier(probability, label, weight),
        ranking.calibration_error(probability, label, weight),
    )


def _interval(draws: np.ndarray, level: float) -> tuple[float, float]:
    defined = draws[np.isfinite(draws)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _number(value: float) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if math.isfinite(value) else None
