"""Checks of what a source gave: rows that cannot be are dropped or mended, and all that is odd is told.

Each decision about a row rests on that row and on earlier ones, so that a clean past never changes when more days
arrive.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from perdure.pipelines.market.data.bars import Bars, Finding, Prices
from perdure.pipelines.market.data.provider import SourceError

_FEWEST = 300  # bars; the features alone need 273 before the first sample
_MOST_DROPPED = 0.2  # share of the rows
_GAP = 7  # calendar days between two bars that no holiday explains
_STALE = 5  # sessions in a row with the same four prices
_JUMP = np.log(1.8)  # a day's log return beyond which something is odd
_SPLITS = np.array([2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 25.0, 50.0])
_NIGHT = 0.02  # log return that a night may add to a split


class UnusableError(SourceError):
    """Too little of what the source gave can be used; the symbol is set aside."""


def check(
    prices: Prices, *, days: np.ndarray | None = None, fewest: int = _FEWEST
) -> tuple[Prices, tuple[Finding, ...]]:
    """Prices that keep the promises of `Bars`, and what was found, oldest first.

    days: datetime64[D], the days on which the market was open, to name those without a bar. fewest: usable bars.
    Raises UnusableError.
    """
    found = _Findings(list(prices.findings))
    given = len(prices.bars)
    bars = _in_order(prices.bars, found)
    bars = _with_close(bars, found)
    if len(bars) < fewest or len(bars) < (1 - _MOST_DROPPED) * given:
        raise UnusableError(
            f"only {len(bars)} of {given} bars can be used, and {fewest} and {1 - _MOST_DROPPED:.0%} of them are "
            "needed; use a source with a longer history, or leave the symbol out"
        )
    bars = _mended(bars, found)
    _note_gaps(bars, found, days)
    _note_stale(bars, found)
    clean = _with_splits(replace(prices, bars=bars, findings=()), found)
    return clean, tuple(sorted(found.rows, key=lambda row: row.day))


@dataclass(frozen=True, slots=True)
class _Findings:
    rows: list[Finding]

    def add(self, days: np.ndarray, what: str, done: str) -> None:
        self.rows.extend(Finding(str(day), what, done) for day in days)


def _in_order(bars: Bars, found: _Findings) -> Bars:
    """Days strictly rising; of a day that is there twice, the first row."""
    back = np.flatnonzero(np.diff(bars.day) < np.timedelta64(0, "D")) + 1
    found.add(bars.day[back], "the day is out of order", "mended")
    bars = bars.take(np.argsort(bars.day, kind="stable")) if back.size else bars
    again = np.concatenate([np.zeros(min(len(bars), 1), bool), bars.day[1:] == bars.day[:-1]])
    found.add(bars.day[again], "the day is there twice", "dropped")
    return bars.take(~again)


def _with_close(bars: Bars, found: _Findings) -> Bars:
    usable = _is_price(bars.close)
    found.add(bars.day[~usable], "the close is zero, negative or missing", "dropped")
    return bars.take(usable)


def _mended(bars: Bars, found: _Findings) -> Bars:
    """Missing opens, highs and lows stand in from what is there; the high is the highest, the low the lowest."""
    missing = ~(_is_price(bars.open) & _is_price(bars.high) & _is_price(bars.low))
    found.add(bars.day[missing], "open, high or low is zero, negative or missing", "mended")
    opened, high, low = (np.where(_is_price(p), p, bars.close) for p in (bars.open, bars.high, bars.low))
    top, bottom = np.maximum(opened, bars.close), np.minimum(opened, bars.close)
    wrong = ~missing & ((high < top) | (low > bottom))
    found.add(bars.day[wrong], "the high is not the highest, or the low not the lowest", "mended")
    counted = np.isfinite(bars.volume) & (bars.volume >= 0)
    found.add(bars.day[~counted], "the volume is negative or missing", "mended")
    return replace(
        bars, open=opened, high=np.maximum(high, top), low=np.minimum(low, bottom),
        volume=np.where(counted, bars.volume, 0.0),
    )  # fmt: skip


def _is_price(price: np.ndarray) -> np.ndarray:
    return np.isfinite(price) & (price > 0)


def _note_gaps(bars: Bars, found: _Findings, days: np.ndarray | None) -> None:
    apart = np.diff(bars.day).astype(np.int64)
    for row in np.flatnonzero(apart > _GAP):
        found.add(bars.day[row + 1 : row + 2], f"no bars for the {apart[row]} days before", "kept")
    if days is not None:
        inner = days[(days > bars.day[0]) & (days < bars.day[-1])]
        found.add(np.setdiff1d(inner, bars.day), "the market was open and there is no bar", "kept")


def _note_stale(bars: Bars, found: _Findings) -> None:
    table = np.stack([bars.open, bars.high, bars.low, bars.close])
    same = np.concatenate([[False], (table[:, 1:] == table[:, :-1]).all(axis=0), [False]])
    begins, ends = np.flatnonzero(~same[:-1] & same[1:]), np.flatnonzero(same[:-1] & ~same[1:])
    for begin, end in zip(begins, ends, strict=True):
        if end - begin + 1 >= _STALE:
            found.add(bars.day[begin : begin + 1], f"the same prices for {end - begin + 1} sessions", "kept")


def _with_splits(prices: Prices, found: _Findings) -> Prices:
    """Record splits that the source does not know: an open that is a whole fraction, or multiple, of the close before.

    Other jumps are told and kept: a company may lose half its value.
    """
    bars = prices.bars
    night = np.log(bars.open[1:] / bars.close[:-1])
    move = np.log(bars.close[1:] / bars.close[:-1])
    known = np.isin(bars.day[1:], np.concatenate([prices.split_day, prices.dividend_day]))
    sizes = np.concatenate([-np.log(_SPLITS), np.log(_SPLITS)])
    nearest = np.abs(night[:, None] - sizes).argmin(axis=1)
    split = ~known & (np.abs(night - sizes[nearest]) < _NIGHT) & (np.abs(move) > _JUMP / 2)
    jump = ~known & ~split & (np.abs(move) > _JUMP)
    for row in np.flatnonzero(jump):
        found.add(
            bars.day[row + 1 : row + 2], f"the close moved by a factor of {np.exp(move[row]):.3g}", "kept"
        )
    ratio = np.exp(-sizes[nearest[split]])
    for day, new in zip(bars.day[1:][split], ratio, strict=True):
        found.add(
            np.array([day]),
            f"the price moved like an unrecorded split, {new:.3g} new shares an old one",
            "mended",
        )
    order = np.argsort(np.concatenate([prices.split_day, bars.day[1:][split]]), kind="stable")
    return replace(
        prices,
        split_day=np.concatenate([prices.split_day, bars.day[1:][split]])[order],
        split_ratio=np.concatenate([prices.split_ratio, ratio])[order],
    )
