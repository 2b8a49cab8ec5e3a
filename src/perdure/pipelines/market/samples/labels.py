"""Labels by the triple-barrier method: what a decision at the close of a bar would have earned.

M. Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 3. Decide at the close of bar t, enter at the
open of t + 1; leave at the first close that lies beyond a barrier of one expected deviation over the horizon, above or
below, or else at the close of bar t + horizon.

Barriers are judged at closes, not at highs and lows: a daily bar does not tell which of the two came first, a close
can be traded at, and sources without highs and lows then get the same labels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.features.returns import daily_volatility

Target = Literal["sector", "absolute"]


@dataclass(frozen=True, slots=True)
class Labels:
    """One label a decision, all (k,).

    first, last: int64, the rows of the bars of entry and exit. t1: datetime64[D], the day of exit. ret: float64, the
    simple return from entry to exit; excess: the same less the sector fund's. barrier: int8, +1 or -1 for the one that
    was touched, 0 for neither. y: int8, 1 where the target is above 0.
    """

    first: np.ndarray
    last: np.ndarray
    t1: np.ndarray
    ret: np.ndarray
    excess: np.ndarray
    barrier: np.ndarray
    y: np.ndarray


def triple_barrier(
    bars: Bars, rows: np.ndarray, *, sector: Bars, horizon: int = 10, target: Target = "sector"
) -> Labels:
    """Labels of the decisions at `rows`, each of which has `horizon` bars after it.

    sector: the sector fund's bars on the symbol's days; it is entered at its open and left at its close of the same
    days. Where the price has not moved at all up to t there is no barrier but the last bar.
    """
    entry = bars.open[rows + 1]
    path = np.log(bars.close[rows[:, None] + 1 + np.arange(horizon)] / entry[:, None])
    width = daily_volatility(bars.close)[rows] * np.sqrt(horizon)
    beyond = (np.abs(path) >= width[:, None]) & (width[:, None] > 0)
    steps = np.where(beyond.any(axis=1), beyond.argmax(axis=1), horizon - 1)
    last = rows + 1 + steps
    at_exit = np.arange(len(rows)), steps
    ret = bars.close[last] / entry - 1
    excess = ret - (sector.close[last] / sector.open[rows + 1] - 1)
    return Labels(
        rows + 1, last, bars.day[last], ret, excess,
        np.where(beyond[at_exit], np.sign(path[at_exit]), 0).astype(np.int8),
        ((excess if target == "sector" else ret) > 0).astype(np.int8),
    )  # fmt: skip
