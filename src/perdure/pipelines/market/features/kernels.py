"""Rolling statistics, each window computed afresh.

A running sum carries the rounding of everything it has dropped: after a wild stretch a calm one then has a spread that
is noise, and a symbol whose history starts later gets other bits. Here a value depends on its window alone. Windows
that hold a NaN, or that history does not fill, are NaN. All arrays are (n,) float64, oldest first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_jit: Callable[[Any], Any] = numba.njit(cache=True, nogil=True)
_LEAST = 1e-12  # a spread below this share of the mean is rounding, and counts as none
_SMALLEST = 1e-30  # nothing that is divided by is smaller


@_jit
def total(x: np.ndarray, width: int) -> np.ndarray:
    """The sum of the last `width` values."""
    out = np.full(len(x), np.nan)
    for t in range(width - 1, len(x)):
        out[t] = np.sum(x[t - width + 1 : t + 1])
    return out


@_jit
def mean(x: np.ndarray, width: int) -> np.ndarray:
    """The mean of the last `width` values."""
    return total(x, width) / width


@_jit
def deviation(x: np.ndarray, width: int) -> np.ndarray:
    """The standard deviation (population) of the last `width` values; exactly 0 where they are equal."""
    out = np.full(len(x), np.nan)
    for t in range(width - 1, len(x)):
        centre = np.sum(x[t - width + 1 : t + 1]) / width
        square = 0.0
        for k in range(t - width + 1, t + 1):
            square += (x[k] - centre) ** 2
        spread = np.sqrt(square / width)
        out[t] = 0.0 if spread <= _LEAST * abs(centre) else spread
    return out


@_jit
def correlation(a: np.ndarray, b: np.ndarray, width: int) -> np.ndarray:
    """Pearson's correlation over the last `width` pairs; 0 where either does not vary."""
    out = np.full(len(a), np.nan)
    for t in range(width - 1, len(a)):
        ca = np.sum(a[t - width + 1 : t + 1]) / width
        cb = np.sum(b[t - width + 1 : t + 1]) / width
        aa = bb = ab = 0.0
        for k in range(t - width + 1, t + 1):
            aa += (a[k] - ca) ** 2
            bb += (b[k] - cb) ** 2
            ab += (a[k] - ca) * (b[k] - cb)
        if np.isnan(ab):
            continue
        still = aa <= width * (_LEAST * ca) ** 2 or bb <= width * (_LEAST * cb) ** 2
        scale = np.sqrt(aa * bb)
        out[t] = 0.0 if still or scale < _SMALLEST else min(1.0, max(-1.0, ab / scale))
    return out


@_jit
def covariance(a: np.ndarray, b: np.ndarray, width: int) -> np.ndarray:
    """The covariance (population) over the last `width` pairs."""
    out = np.full(len(a), np.nan)
    for t in range(width - 1, len(a)):
        ca = np.sum(a[t - width + 1 : t + 1]) / width
        cb = np.sum(b[t - width + 1 : t + 1]) / width
        ab = 0.0
        for k in range(t - width + 1, t + 1):
            ab += (a[k] - ca) * (b[k] - cb)
        out[t] = ab / width
    return out


@_jit
def shape(x: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Skewness and excess kurtosis (population moments) over the last `width` values; 0 where they are equal."""
    skew, tails = np.full(len(x), np.nan), np.full(len(x), np.nan)
    for t in range(width - 1, len(x)):
        centre = np.sum(x[t - width + 1 : t + 1]) / width
        second = third = fourth = 0.0
        for k in range(t - width + 1, t + 1):
            gap = x[k] - centre
            second += gap**2
            third += gap**3
            fourth += gap**4
        second, third, fourth = second / width, third / width, fourth / width
        if np.isnan(second):
            continue
        still = second <= (_LEAST * centre) ** 2 or second < _SMALLEST
        skew[t] = 0.0 if still else third / second**1.5
        tails[t] = 0.0 if still else fourth / second**2 - 3.0
    return skew, tails


@_jit
def smoothed(x: np.ndarray, decay: float) -> np.ndarray:
    """Exponentially weighted mean, `decay` a bar, begun at the first value that is not NaN."""
    out = np.full(len(x), np.nan)
    level = np.nan
    for t in range(len(x)):
        level = x[t] if np.isnan(level) else decay * level + (1.0 - decay) * x[t]
        out[t] = level
    return out


@_jit
def drawdown(x: np.ndarray, width: int) -> np.ndarray:
    """The deepest fall from a peak inside the last `width` values (0 or negative)."""
    out = np.full(len(x), np.nan)
    for t in range(width - 1, len(x)):
        peak, deepest = x[t - width + 1], 0.0
        for k in range(t - width + 1, t + 1):
            peak = max(peak, x[k])
            deepest = min(deepest, x[k] - peak)
        out[t] = deepest
    return out


@_jit
def streak(r: np.ndarray) -> np.ndarray:
    """How many bars in a row went the same way: positive up, negative down, 0 on a bar without change or return."""
    out = np.zeros(len(r))
    for t in range(1, len(r)):
        way = 0.0 if np.isnan(r[t]) else np.sign(r[t])
        out[t] = out[t - 1] + way if way * out[t - 1] > 0 else way
    return out


@_jit
def hurst(x: np.ndarray, width: int) -> np.ndarray:
    """Slope of ln std(x[t] - x[t - lag]) on ln lag, lags 2 to 16, inside the last `width` + 1 values.

    0.5 (no memory) where the values do not vary. The estimator is that of E. Peters, Fractal Market Analysis (1994).
    """
    out = np.full(len(x), np.nan)
    lags = np.array([2, 3, 4, 6, 8, 12, 16])
    log_lags = np.log(lags.astype(np.float64))
    log_lags -= np.mean(log_lags)
    for t in range(width, len(x)):
        slope = 0.0
        still = False
        for number in range(len(lags)):
            lag = lags[number]
            count = width - lag + 1
            centre = square = 0.0
            for k in range(t - width + lag, t + 1):
                centre += x[k] - x[k - lag]
            centre /= count
            for k in range(t - width + lag, t + 1):
                square += (x[k] - x[k - lag] - centre) ** 2
            still = still or square < _LEAST**2
            slope += log_lags[number] * 0.5 * np.log(max(square / count, _SMALLEST))
        out[t] = 0.5 if still else slope / np.sum(log_lags**2)
    return out


@_jit
def permutation_entropy(x: np.ndarray, width: int) -> np.ndarray:
    """Entropy of the order patterns of three neighbours over the last `width` triples, 0 to 1 (Bandt and Pompe 2002).

    Ties count as falls.
    """
    out = np.full(len(x), np.nan)
    patterns = np.array([0, 1, 2, 2, 3, 3, 4, 5])
    for t in range(width + 1, len(x)):
        if np.isnan(x[t - width - 1]):
            continue
        counts = np.zeros(6)
        for k in range(t - width + 1, t + 1):
            a, b, c = x[k - 2], x[k - 1], x[k]
            counts[patterns[(a < b) * 1 + (b < c) * 2 + (a < c) * 4]] += 1
        entropy = 0.0
        for count in counts:
            if count > 0:
                entropy -= count / width * np.log(count / width)
        out[t] = entropy / np.log(6.0)
    return out


@_jit
def fractional_difference(x: np.ndarray, order: float, width: int) -> np.ndarray:
    """(1 - B)^order of x, cut off after `width` weights (Lopez de Prado 2018, chapter 5)."""
    weights = np.empty(width)
    weights[0] = 1.0
    for k in range(1, width):
        weights[k] = -weights[k - 1] * (order - k + 1) / k
    out = np.full(len(x), np.nan)
    for t in range(width - 1, len(x)):
        value = 0.0
        for k in range(width):
            value += weights[k] * x[t - k]
        out[t] = value
    return out


@_jit
def since(flag: np.ndarray, cap: int) -> np.ndarray:
    """Bars since `flag` was last true, `cap` at most; `cap` where it never was."""
    out = np.full(len(flag), float(cap))
    count = cap
    for t in range(len(flag)):
        count = 0 if flag[t] else min(count + 1, cap)
        out[t] = count
    return out


def lagged(x: np.ndarray, bars: int) -> np.ndarray:
    """x of `bars` bars ago; NaN where there was none."""
    out = np.full(len(x), np.nan)
    out[bars:] = x[: max(len(x) - bars, 0)]
    return out


def ratio(above: np.ndarray, below: np.ndarray, otherwise: float = 0.0) -> np.ndarray:
    """above / below, and `otherwise` where below is nothing; NaN where either is unknown."""
    known = ~(np.isnan(above) | np.isnan(below))
    divisible = known & (np.abs(below) > _SMALLEST)
    out = np.where(known, otherwise, np.nan)
    np.divide(above, below, out=out, where=divisible)
    return out


def standard_score(x: np.ndarray, width: int) -> np.ndarray:
    """(x - mean) / deviation over the last `width` values; 0 where they do not vary."""
    return ratio(x - mean(x, width), deviation(x, width))
