"""The market's fund and a sector's, on the days of a symbol."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from perdure.pipelines.market.data.bars import Bars


def on_days(fund: Bars, days: np.ndarray) -> Bars:
    """The fund's bars on `days`; where it has none, its last close without trading; NaN before its first.

    What a day gets depends on the fund's bars up to that day alone.
    """
    if not len(fund):
        nothing = np.full(len(days), np.nan)
        return Bars(days, nothing, nothing, nothing, nothing, nothing)
    rows = np.searchsorted(fund.day, days, side="right") - 1
    place = np.maximum(rows, 0)
    own = fund.day[place] == days
    close = np.where(rows >= 0, fund.close[place], np.nan)
    opening, high, low = (np.where(own, x[place], close) for x in (fund.open, fund.high, fund.low))
    return Bars(days, opening, high, low, close, np.where(own, fund.volume[place], 0.0))


def chained(fund: Bars, market: Bars) -> Bars:
    """A sector's fund, and before its listing the market's in its place (XLC began in 2018, XLRE in 2015).

    Both are on the same days. The fund is scaled to meet the market's close of its first day, not the other way
    round: so a bar never changes its bits when the future arrives.
    """
    known = np.flatnonzero(~np.isnan(fund.close))
    first = int(known[0]) if len(known) else len(fund)
    if first == 0:
        return fund
    late = np.arange(len(fund)) > first
    factor = market.close[first] / fund.close[first] if first < len(fund) else 1.0

    def joined(name: str) -> np.ndarray:
        return np.where(late, getattr(fund, name) * factor, getattr(market, name))

    return replace(fund, **{name: joined(name) for name in ("open", "high", "low", "close", "volume")})
