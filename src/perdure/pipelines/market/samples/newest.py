"""The newest session of a symbol as of some day: what a forecast is made from, and what a sample must equal.

`truncated` makes samples again as if the days after them had not come yet, to see whether any feature looks ahead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from perdure.pipelines.market.data.bars import Prices, Series
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.data.provider import Provider
from perdure.pipelines.market.data.source import source as source_named
from perdure.pipelines.market.data.symbols import MARKET, Company
from perdure.pipelines.market.features.calendar import cut_offs
from perdure.pipelines.market.samples import backtest
from perdure.pipelines.market.samples.backtest import Plan


@dataclass(frozen=True, slots=True)
class Newest:
    """What a forecast is made from. values: (202,) float64, NaN where history is too short."""

    day: np.datetime64
    values: np.ndarray
    regime: int


@dataclass(frozen=True, slots=True)
class Until:
    """A provider as it was at the close of a day; of events, 15 minutes before."""

    provider: Provider
    day: np.datetime64

    @property
    def name(self) -> str:
        return self.provider.name

    def prices(self, symbol: str) -> Prices:
        return self.provider.prices(symbol).until(self.day)

    def events(self, symbol: str) -> Events:
        return self.provider.events(symbol).until(cut_offs(np.array([self.day]))[0])

    def index(self, name: str) -> Series | None:
        return self._cut(self.provider.index(name))

    def oracle(self, symbol: str) -> Series | None:
        return self._cut(self.provider.oracle(symbol))

    def _cut(self, series: Series | None) -> Series | None:
        if series is None:
            return None
        known = series.day <= self.day
        return Series(series.day[known], series.value[known])


def newest(company: Company, provider: Provider, plan: Plan, *, begin: np.datetime64 | None = None) -> Newest:
    """The features and regime of the last session of `provider`. Raises SourceError.

    begin: the first day that is looked at, if not that of the grid's window.
    """
    grid = replace(plan.grid, horizon=0)  # no label is made
    if begin is not None:
        calendar = backtest.checked(provider, MARKET, grid, None).day
        grid = replace(grid, sessions=int((calendar >= begin).sum()))
    material = backtest.material_of(company, provider, grid)
    values = backtest.features(company, provider, material)[-1]
    return Newest(material.bars.day[-1], values, int(material.regime[-1]))


def last_session(_: Company, *, source: str, cache: Path, settings: Mapping[str, Any]) -> str:
    """The newest session of the market that a source knows ("YYYY-MM-DD"), whichever company asks."""
    provider = source_named(source, cache=cache, config=settings)
    return str(backtest.checked(provider, MARKET, Plan.of(settings).grid, None).day[-1])


def truncated(
    company: Company, *, days: Sequence[str], source: str, cache: Path, settings: Mapping[str, Any]
) -> np.ndarray:
    """(len(days), features) float64: the features of each day ("YYYY-MM-DD"), from what was known on it alone."""
    plan = Plan.of(settings)
    provider = source_named(source, cache=cache, config=settings)
    begin = plan.grid.window(backtest.checked(provider, MARKET, plan.grid, None).day)[0]
    known = [Until(provider, day) for day in np.array(days, "datetime64[D]")]
    return np.stack([newest(company, then, plan, begin=begin).values for then in known])
