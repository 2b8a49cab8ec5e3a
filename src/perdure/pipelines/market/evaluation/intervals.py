"""Intervals that respect what market data share: a day's names move together, and labels of near days overlap.

The stationary bootstrap (Politis & Romano 1994, JASA 89) over days: blocks of geometric length, drawn with
replacement, wrapping round at the end; a day comes with all its names, as often as it was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perdure.pipelines.market.evaluation import metrics

LEVEL = 0.95
BLOCK = 12  # days of the grid, a multiple of the 4 that a label of 10 sessions spans on a grid of every third


@dataclass(frozen=True, slots=True)
class Resamples:
    """Which days came how often.

    days: (d,) distinct days, rising. member: (n,) the place of each row's day in them. times: (r, d) int16.
    """

    days: np.ndarray
    member: np.ndarray
    times: np.ndarray

    @classmethod
    def of(cls, day: np.ndarray, *, resamples: int, seed: int, block: int = BLOCK) -> Resamples:
        """day: (n,), of each row. block: mean length of a block, in days; a quarter of all days at most."""
        days, member = np.unique(day, return_inverse=True)
        count = len(days)
        if not count:
            return cls(days, member, np.zeros((resamples, 0), np.int16))
        length = max(1.0, min(float(block), count / 4))
        rng = np.random.default_rng([seed, count])
        times = np.empty((resamples, count), np.int16)
        for k in range(resamples):
            times[k] = np.bincount(_drawn(count, length, rng), minlength=count)
        return cls(days, member, times)

    def __len__(self) -> int:
        return len(self.times)

    def among(self, days: np.ndarray) -> Resamples:
        """The same draws for one row a day; days: (m,) distinct, each of them known."""
        return Resamples(self.days, np.searchsorted(self.days, days), self.times)

    def of_rows(self, rows: np.ndarray) -> Resamples:
        """The same draws for some of the rows (a mask or indices)."""
        return Resamples(self.days, self.member[rows], self.times)

    @property
    def rows(self) -> np.ndarray:
        """(r,) how many rows were drawn."""
        return self.sums(np.ones(len(self.member)))

    def sums(self, value: np.ndarray) -> np.ndarray:
        """(r,) sums of value (n,) over the drawn rows."""
        return _weighted(self.times, np.bincount(self.member, value, len(self.days)))

    def means(self, value: np.ndarray) -> np.ndarray:
        """(r,) means of value (n,) over the drawn rows; NaN where none was drawn."""
        return _quotient(self.sums(value), self.rows)

    def aucs(self, y: np.ndarray, probability: np.ndarray) -> np.ndarray:
        """(r,) AUCs of the drawn rows, ties half; NaN without both classes. Sorts once."""
        order = np.argsort(probability, kind="stable")
        rises, falls = order[y[order] == 1], order[y[order] == 0]
        # How many falls are below each rise, and how many are not above it: ties are the difference.
        below, upto = (
            np.searchsorted(probability[falls], probability[rises], side=side) for side in ("left", "right")
        )
        up, down = self.member[rises], self.member[falls]
        return np.array([_auc(times[up], times[down], below, upto) for times in self.times])

    def calibration_errors(self, y: np.ndarray, probability: np.ndarray, *, bins: int = 15) -> np.ndarray:
        """(r,) expected calibration errors of the drawn rows, in the bins of the whole."""
        place = metrics.equal_count_bins(probability, bins)
        gaps = [np.abs(self.sums(np.where(place == k, probability - y, 0.0))) for k in range(bins)]
        return _quotient(np.sum(gaps, axis=0), self.rows)

    def calibration_errors_less_bias(self, y: np.ndarray, probability: np.ndarray) -> np.ndarray:
        """The same less the bias of resampling, which widens absolute gaps; never below 0.

        Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 10.
        """
        draws = self.calibration_errors(y, probability)
        defined = draws[np.isfinite(draws)]
        bias = defined.mean() - metrics.calibration_error(y, probability) if len(defined) else 0.0
        return np.maximum(draws - bias, 0.0)

    def ratios(self, value: np.ndarray) -> np.ndarray:
        """(r,) mean over standard deviation of value (n,); NaN where it does not vary."""
        mean, count = self.means(value), self.rows
        spread = np.maximum(self.means(value**2) - mean**2, 0.0) * count / np.maximum(count - 1, 1)
        return _quotient(mean, np.sqrt(np.where(spread > 1e-18, spread, 0.0)))


def interval(draws: np.ndarray, *, level: float = LEVEL) -> tuple[float, float]:
    """Percentiles of the draws that are defined; NaN when none is."""
    defined = draws[np.isfinite(draws)]
    if not len(defined):
        return math.nan, math.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class Difference:
    """value: challenger less champion; low, high: its interval; better: share of resamples won by the challenger."""

    value: float
    low: float
    high: float
    better: float


def paired(
    y: np.ndarray,
    day: np.ndarray,
    champion: np.ndarray,
    challenger: np.ndarray,
    *,
    resamples: int,
    seed: int,
    block: int = BLOCK,
) -> dict[str, Difference]:
    """`auc` and `log_loss` of two models on the same rows (n,), compared in the same resamples.

    What both share, such as an easy month, cancels; intervals of two models apart are far too wide for this.
    """
    drawn = Resamples.of(day, resamples=resamples, seed=seed, block=block)
    area = drawn.aucs(y, challenger) - drawn.aucs(y, champion)
    extra = metrics.losses(y, challenger) - metrics.losses(y, champion)
    loss = drawn.means(extra)
    return {
        "auc": _difference(metrics.auc(y, challenger) - metrics.auc(y, champion), area, area > 0),
        "log_loss": _difference(float(extra.mean()) if len(y) else math.nan, loss, loss < 0),
    }


def _difference(value: float, draws: np.ndarray, won: np.ndarray) -> Difference:
    defined = np.isfinite(draws)
    return Difference(value, *interval(draws), float(won[defined].mean()) if defined.any() else math.nan)


def _drawn(count: int, length: float, rng: np.random.Generator) -> np.ndarray:
    """(count,) places of the drawn days."""
    place = np.arange(count)
    starts = rng.random(count) < 1 / length
    starts[0] = True
    begin = np.maximum.accumulate(np.where(starts, place, 0))
    return (rng.integers(0, count, count)[begin] + place - begin) % count


def _auc(rises: np.ndarray, falls: np.ndarray, below: np.ndarray, upto: np.ndarray) -> float:
    """rises, falls: how often each was drawn, falls by rising score. Integers, so exact."""
    counted = np.cumsum(np.concatenate([[0], falls]), dtype=np.int64)
    pairs = int(counted[-1]) * int(rises.sum(dtype=np.int64))
    return int(np.sum(rises * (counted[below] + counted[upto]))) / (2 * pairs) if pairs else math.nan


def _quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.divide(a, b, out=np.full(len(a), math.nan), where=b > 0)


def _weighted(times: np.ndarray, sums: np.ndarray) -> np.ndarray:
    # Not a matrix product: how BLAS orders its sums depends on the number of threads.
    return np.sum(times * sums, axis=1)
