"""Daily bars of one instrument: as traded, and adjusted for splits and dividends."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np


@dataclass(frozen=True, slots=True)
class Bars:
    """Daily bars, oldest first.

    day: (n,) datetime64[D], strictly rising. open, high, low, close: (n,) float64, money a share.
    volume: (n,) float64, shares.
    """

    day: np.ndarray
    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray

    def __len__(self) -> int:
        return len(self.day)

    def take(self, rows: slice | np.ndarray) -> Self:
        """The bars at `rows` (a slice, a mask or indices)."""
        return type(self)(*(np.ascontiguousarray(getattr(self, field.name)[rows]) for field in fields(self)))

    def until(self, day: np.datetime64) -> Self:
        """The bars up to `day`, with it."""
        return self.take(slice(0, int(np.searchsorted(self.day, day, side="right"))))


@dataclass(frozen=True, slots=True)
class Series:
    """Daily values of an index that does not trade, such as the VIX, oldest first.

    day: (n,) datetime64[D], strictly rising. value: (n,) float64.
    """

    day: np.ndarray
    value: np.ndarray

    def on(self, days: np.ndarray) -> np.ndarray:
        """(m,) the latest value known on each of `days`; NaN before the first."""
        rows = np.searchsorted(self.day, days, side="right") - 1
        return np.where(rows >= 0, self.value[np.maximum(rows, 0)], np.nan)


@dataclass(frozen=True, slots=True)
class Finding:
    """A row of the report on quality. day: ISO, "" for all of them; done: "dropped", "mended", "kept" or "checked"."""

    day: str
    what: str
    done: str


@dataclass(frozen=True, slots=True)
class Prices:
    """What a provider gave: bars as traded, and the corporate actions.

    split_day: (k,) datetime64[D], the first day on the new count; split_ratio: (k,) float64, new shares an old one.
    dividend_day: (m,) datetime64[D], the ex-day; dividend: (m,) float64, money a share.
    findings: what the provider had to do to give this.
    """

    bars: Bars
    split_day: np.ndarray
    split_ratio: np.ndarray
    dividend_day: np.ndarray
    dividend: np.ndarray
    findings: tuple[Finding, ...] = ()

    @classmethod
    def plain(cls, bars: Bars, *findings: Finding) -> Prices:
        """Bars without corporate actions."""
        none, nothing = np.empty(0, "datetime64[D]"), np.empty(0)
        return cls(bars, none, nothing, none, nothing, findings)

    def until(self, day: np.datetime64) -> Prices:
        """What was known at the close of `day`."""
        split, paid = self.split_day <= day, self.dividend_day <= day
        return Prices(
            self.bars.until(day), self.split_day[split], self.split_ratio[split],
            self.dividend_day[paid], self.dividend[paid], self.findings,
        )  # fmt: skip


def adjusted(prices: Prices) -> Bars:
    """Bars whose returns are total returns.

    Later prices are scaled up, rather than earlier ones down: a bar then depends on actions up to its own day only,
    and never changes its bits when the future arrives. A dividend d on a close p before the ex-day scales by
    p / (p - d), as reinvested at that close.
    """
    bars = prices.bars
    shares, money = np.ones(len(bars)), np.ones(len(bars))
    for day, ratio in zip(prices.split_day, prices.split_ratio, strict=True):
        shares[bars.day >= day] *= ratio
    for day, paid in zip(prices.dividend_day, prices.dividend, strict=True):
        row = int(np.searchsorted(bars.day, day))
        if 0 < row < len(bars) and 0 < paid < bars.close[row - 1]:
            money[row:] *= bars.close[row - 1] / (bars.close[row - 1] - paid)
    factor = shares * money
    return replace(
        bars, open=bars.open * factor, high=bars.high * factor, low=bars.low * factor, close=bars.close * factor,
        volume=bars.volume / shares,
    )  # fmt: skip
