"""What real prices have and made ones lack: corporate actions, late listings, holes, and damaged rows."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np

from perdure.pipelines.market.data.bars import Bars, Prices
from perdure.pipelines.market.data.events import Events

# Share of the sessions before which the symbol was not listed. The last one is too young to give enough samples.
LISTED_LATE = {"CRWD": 0.35, "SNOW": 0.47, "PLTR": 0.72}
_RATIOS = np.array([2.0, 3.0, 4.0, 1.5, 0.1])  # new shares an old one
_WITH_HOLES, _DAMAGED = 0.3, 0.12  # share of the symbols
_EDGE = 5  # sessions at either end without damage, where nothing could tell what is right


def as_traded(rng: np.random.Generator, bars: Bars) -> Prices:
    """The prices that people saw, for bars of total returns: `adjusted` gives the returns back."""
    count = len(bars)
    split = np.sort(rng.choice(np.arange(1, count), min(rng.poisson(0.7), count - 1), replace=False))
    ratio = _RATIOS[rng.integers(0, _RATIOS.size, split.size)]
    first, part, pays = int(rng.integers(1, 63)), rng.uniform(0.002, 0.009), rng.random() < 0.6
    paid = np.setdiff1d(np.arange(first, count, 63), split) if pays else np.empty(0, np.int64)
    shares, left = np.ones(count), np.ones(count)
    for row, new in zip(split, ratio, strict=True):
        shares[row:] *= new
    for row in paid:
        left[row:] *= 1 - part
    raw = _scaled(bars, left / shares)
    return Prices(
        replace(raw, volume=np.round(bars.volume * shares)), bars.day[split], ratio,
        bars.day[paid], part * raw.close[paid - 1],
    )  # fmt: skip


def listed(symbol: str, prices: Prices, sessions: int) -> Prices:
    """Without what came before the symbol was listed. `sessions`: of the whole market."""
    first = prices.bars.day[int(LISTED_LATE.get(symbol, 0.0) * sessions)]
    split, paid = prices.split_day > first, prices.dividend_day > first
    return Prices(
        prices.bars.take(prices.bars.day >= first), prices.split_day[split], prices.split_ratio[split],
        prices.dividend_day[paid], prices.dividend[paid],
    )  # fmt: skip


def since(events: Events, first: np.datetime64) -> Events:
    """What became public from the listing on; earnings from before it too, as a prospectus gives them."""
    kept = {
        field.name: getattr(events, field.name).since(first.astype("datetime64[s]"))
        for field in fields(events)
        if field.name != "earnings"
    }
    return replace(events, **kept)


def soiled(rng: np.random.Generator, bars: Bars) -> Bars:
    """With the faults of a real source: some symbols lack a few bars, and a few have damaged rows: a zero price, a
    date twice, a high below the close. The rows are then no longer what `Bars` promises, until they are checked."""
    holes, damage = rng.random(2) < (_WITH_HOLES, _DAMAGED)
    inner = np.arange(_EDGE, len(bars) - _EDGE)
    if holes and inner.size:
        kept = np.ones(len(bars), bool)
        kept[rng.choice(inner, min(3, inner.size), replace=False)] = False
        bars = bars.take(kept)
        inner = np.arange(_EDGE, len(bars) - _EDGE)
    if not damage or inner.size < 3:
        return bars
    zero, twice, low = rng.choice(inner, 3, replace=False)
    broken = bars.take(slice(None))
    for name in ("open", "high", "low", "close"):
        getattr(broken, name)[zero] = 0.0
    broken.high[low] = 0.97 * min(broken.open[low], broken.close[low])
    return broken.take(np.insert(np.arange(len(bars)), twice, twice))


def _scaled(bars: Bars, factor: np.ndarray) -> Bars:
    names = [field.name for field in fields(bars) if field.name not in {"day", "volume"}]
    return replace(bars, **{name: getattr(bars, name) * factor for name in names})
