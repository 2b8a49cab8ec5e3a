"""Tests that try to catch the evaluation itself cheating: rows or labels that training should not have seen.

A small gradient-boosted forest stands in for the ensemble, for it learns by heart what there is to learn by heart; pass
another `model` to audit that one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.evaluation import metrics

Folds = Sequence[tuple[np.ndarray, np.ndarray]]  # (training rows, test rows) of each
Model = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # x and y to learn from, x to score

LARGEST_Z = 4.0  # of a sound shuffle, one in 16,000 is further out
LEAK_GAP = 0.03  # AUC; what a random split gains by chance is below it
_ROUNDS = 100
_PARAMETERS = {
    "objective": "binary", "num_leaves": 63, "learning_rate": 0.1, "min_data_in_leaf": 20, "max_bin": 63,
    "feature_fraction": 0.3, "deterministic": True, "force_row_wise": True, "verbosity": -1, "seed": 1,
    "num_threads": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Audit:
    """What one audit found. value: its number; limit: what the number may be; text: both in words."""

    name: str
    passed: bool
    value: float
    limit: float
    text: str


@dataclass(frozen=True, slots=True)
class SplitGap:
    """AUC of one model under a random K-fold and under the forward folds."""

    random: float
    forward: float

    @property
    def gap(self) -> float:
        """What a random split would have claimed too much."""
        return self.random - self.forward

    @property
    def leaks(self) -> bool:
        """Whether a random split of these samples leaks, so that only purged forward folds may be believed."""
        return self.gap > LEAK_GAP


def forest(x: np.ndarray, y: np.ndarray, x_new: np.ndarray) -> np.ndarray:
    """(m,) probabilities of x_new (m, k) after learning from x (n, k) and y (n,)."""
    import lightgbm

    # A data set of few rows would drop features whose bins hold fewer than min_data_in_leaf.
    data = lightgbm.Dataset(x, y, params=_PARAMETERS | {"feature_pre_filter": False})
    return np.asarray(lightgbm.train(_PARAMETERS, data, num_boost_round=_ROUNDS).predict(x_new))


def label_shuffle(
    x: np.ndarray, y: np.ndarray, day: np.ndarray, folds: Folds, *, seed: int, model: Model = forest
) -> Audit:
    """With the labels of each day dealt anew, nothing can be learnt: test rows that score, were trained on.

    x: (n, k). y: (n,) 0 or 1. day: (n,). Only pairs of one day are compared, whose order is pure chance, so that the
    distance from AUC 0.5 in standard errors (Mann & Whitney 1947) is a sound test however days differ.
    """
    dealt = _dealt(y, day, np.random.default_rng([seed, 2]))
    scores = [(test, model(x[train], dealt[train], x[test])) for train, test in folds]
    counted = [_same_day(dealt[rows], score, day[rows]) for rows, score in scores]
    excess, variance, pairs = (math.fsum(column) for column in zip(*counted, strict=True))
    if not pairs:
        raise UsageError("no test day has both a rise and a fall; audit folds with more names a day")
    area, z = 0.5 + excess / pairs, excess / math.sqrt(variance) if variance else 0.0
    words = f"AUC {area:.4f} with shuffled labels, {abs(z):.1f} standard errors from 0.5"
    return Audit(
        "label shuffle", abs(z) <= LARGEST_Z, area, LARGEST_Z * math.sqrt(variance) / pairs + 0.5, words
    )


def purge_overlap(day: np.ndarray, t1: np.ndarray, train: np.ndarray, test: np.ndarray) -> Audit:
    """No training label may share a session with a test label. day, t1: (n,) datetime64[D]; train, test: rows.

    A label without an end (NaT) counts as one that reaches everything, and a row on both sides as well.
    """
    if not (len(train) and len(test)):
        raise UsageError(f"{len(train)} training rows and {len(test)} test rows; audit folds that have both")
    begin, end = day[test].min(), t1[test].max()
    apart = (t1[train] < begin) | (day[train] > end)  # false for NaT
    reaching = int(np.sum(~apart))
    words = f"{reaching:,} of {len(train):,} training labels reach into the test block {begin} to {end}"
    return Audit("purge overlap", reaching == 0, float(reaching), 0.0, words)


def random_split_gap(
    x: np.ndarray, y: np.ndarray, day: np.ndarray, folds: Folds, *, seed: int, model: Model = forest
) -> SplitGap:
    """What a random K-fold would claim against what the forward folds show; mean AUC over K folds each.

    x: (n, k). y: (n,). day: (n,). The random folds split the rows that the forward folds use, into as many parts.
    A few thousand rows show a leak well; they should be all days of some symbols, for neighbours in time make it.
    """
    used = np.unique(np.concatenate([np.concatenate(fold) for fold in folds]))
    parts = np.array_split(np.random.default_rng([seed, 3]).permutation(used), len(folds))
    mixed = [(np.setdiff1d(used, part), np.sort(part)) for part in parts]
    return SplitGap(_mean_auc(x, y, mixed, model), _mean_auc(x, y, folds, model))


def _mean_auc(x: np.ndarray, y: np.ndarray, folds: Folds, model: Model) -> float:
    areas = [metrics.auc(y[test], model(x[train], y[train], x[test])) for train, test in folds]
    return float(np.nanmean(areas))


def _dealt(y: np.ndarray, day: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """y with the labels of each day permuted among its rows."""
    shuffled = np.empty_like(y)
    shuffled[np.argsort(day, kind="stable")] = y[np.lexsort((rng.random(len(y)), day))]
    return shuffled


def _same_day(y: np.ndarray, score: np.ndarray, day: np.ndarray) -> tuple[float, float, float]:
    """Mann-Whitney's U less its mean, its variance (ties corrected) and the pairs, summed over days."""
    member = np.unique(day, return_inverse=True)[1]
    rank = metrics.centred_ranks(member, score)
    names, rises = np.bincount(member).astype(np.float64), np.bincount(member, y)
    pairs, spread = rises * (names - rises), np.bincount(member, rank**2)
    variance = np.divide(pairs * spread, names * (names - 1), out=np.zeros_like(pairs), where=pairs > 0)
    # Ranks are less their day's mean, so those of the rises add up to U less its mean.
    return float(rank[y == 1].sum()), float(variance.sum()), float(pairs.sum())
