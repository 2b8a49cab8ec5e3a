"""Metrics of ranked predictions, exact under ties and integer weights.

All take a `Ranking`, which sorts once; a bootstrap then only changes the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Ranking:
    """Predictions by falling probability.

    order: (n,) indices that sort. label: (n,) bool, sorted. ends: (k,) last place of each group of ties.
    """

    order: np.ndarray
    label: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, probability: np.ndarray, label: np.ndarray) -> Ranking:
        order = np.argsort(-probability, kind="stable")
        ordered = probability[order]
        ends = (
            np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True]) if len(order) else np.zeros(0, np.int64)
        )
        return cls(order, label[order] == 1, ends)

    def counts(self, weight: np.ndarray | None = None) -> Counts:
        """Cumulative positives and negatives at each distinct probability; `weight` in the original order."""
        ordered = np.ones(len(self.order)) if weight is None else weight[self.order].astype(np.float64)
        hits = np.cumsum(np.where(self.label, ordered, 0.0))[self.ends]
        every = np.cumsum(ordered)[self.ends]
        return Counts(hits, every - hits)


@dataclass(frozen=True, slots=True)
class Counts:
    """true, false: (k,) positives and negatives at or above each threshold, thresholds falling."""

    true: np.ndarray
    false: np.ndarray

    @property
    def positives(self) -> float:
        return float(self.true[-1]) if len(self.true) else 0.0

    @property
    def negatives(self) -> float:
        return float(self.false[-1]) if len(self.false) else 0.0


def auc(counts: Counts) -> float:
    """Share of pairs (planet, none) in the right order, ties half; NaN without both classes."""
    pairs = counts.positives * counts.negatives
    if pairs == 0:
        return math.nan
    heights = counts.true + np.r_[0.0, counts.true[:-1]]
    return float(np.dot(np.diff(counts.false, prepend=0.0), heights) / (2 * pairs))


def average_precision(counts: Counts) -> float:
    """Precision averaged over the steps of recall; NaN without positives."""
    if counts.positives == 0:
        return math.nan
    steps = np.diff(counts.true, prepend=0.0)
    return float(np.dot(steps, _precision(counts)) / counts.positives)


def recall_at_false_positive_rate(counts: Counts, rate: float = 0.01) -> float:
    """Greatest recall of a threshold whose false-positive rate is at most `rate`."""
    if counts.positives == 0 or counts.negatives == 0:
        return math.nan
    return _best_recall(counts, counts.false <= rate * counts.negatives)


def recall_at_precision(counts: Counts, precision: float = 0.99) -> float:
    """Greatest recall of a threshold with at least this precision; 0 when there is none."""
    if counts.positives == 0:
        return math.nan
    return _best_recall(counts, _precision(counts) >= precision)


def brier(probability: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Mean squared error of the probabilities."""
    total = len(label) if weight is None else weight.sum()
    error = (probability - label) ** 2
    return float((error.sum() if weight is None else np.dot(error, weight)) / total) if total else math.nan


def calibration_bins(
    probability: np.ndarray, label: np.ndarray, *, bins: int = 15, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per bin of equal width: number, mean probability and share of positives (NaN where empty)."""
    place = np.minimum((probability * bins).astype(np.int64), bins - 1)
    every = np.bincount(place, weight, bins).astype(np.float64)
    ones = np.ones(len(label)) if weight is None else weight
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, probability * ones, bins) / every
        share = np.bincount(place, label * ones, bins) / every
    return every, mean, share


def calibration_error(probability: np.ndarray, label: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Expected calibration error: |mean probability - share of positives|, averaged over curves."""
    every, mean, share = calibration_bins(probability, label, weight=weight)
    total = every.sum()
    return float(np.nansum(every * np.abs(mean - share)) / total) if total else math.nan


def _precision(counts: Counts) -> np.ndarray:
    every = counts.true + counts.false
    return np.divide(counts.true, every, out=np.zeros_like(every), where=every > 0)


def _best_recall(counts: Counts, allowed: np.ndarray) -> float:
    return float(counts.true[allowed].max(initial=0.0) / counts.positives)
