"""The market's regime on each day: how it moves (three terciles of volatility) times where it heads (two).

Filtered, never smoothed: a day's regime depends on what was known at its close, and does not change later.
"""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np

from perdure.pipelines.market.features import kernels
from perdure.pipelines.market.features.returns import log_return

NAMES = ("calm, falling", "calm, rising", "usual, falling", "usual, rising", "wild, falling", "wild, rising")
UNKNOWN = -1  # before the long mean has its bars


def regimes(market: np.ndarray, *, short: int = 21, long: int = 200) -> np.ndarray:
    """(n,) int8, an index into NAMES, or UNKNOWN. market: (n,) closes of the market's fund, oldest first.

    Volatility is that of the last `short` returns, in terciles of all its values so far; rising is a close above the
    mean of the last `long`.
    """
    volatility = kernels.deviation(log_return(market), short)
    average = kernels.mean(market, long)
    found = 2 * _terciles(volatility) + (market > average)
    return np.where(np.isnan(average), UNKNOWN, found).astype(np.int8)


def _terciles(values: np.ndarray) -> np.ndarray:
    """(n,) 0, 1 or 2: in which third of the values so far, itself included, each stands."""
    seen: list[float] = []
    found = np.zeros(len(values), np.int64)
    for t in np.flatnonzero(~np.isnan(values)):
        value = float(values[t])
        insort(seen, value)
        found[t] = min(3 * bisect_left(seen, value) // len(seen), 2)
    return found
