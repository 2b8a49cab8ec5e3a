"""Does a sample see the future? Its features are computed again as if the days after it had not come yet."""

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


@dataclass(frozen=True, slots=True)
class Known:
    """A provider as it was at the close of `day`."""

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
        series = self.provider.index(name)
        if series is None:
            return None
        known = series.day <= self.day
        return Series(series.day[known], series.value[known])

    def oracle(self, symbol: str) -> Series | None:
        return self.provider.oracle(symbol)


def truncated(
    company: Company, *, days: Sequence[str], source: str, cache: Path, settings: Mapping[str, Any]
) -> np.ndarray:
    """(len(days), features) float64: the features of each day, from what was known on it alone."""
    provider = source_named(source, cache=cache, config=settings)
    grid = backtest.Plan.of(settings).grid
    calendar = backtest.checked(provider, MARKET, grid, None).day
    begin = grid.window(calendar)[0]
    rows = []
    for day in np.array(days, "datetime64[D]"):
        # The window begins where the whole one does: what is cut off is the future only.
        sessions = int(((calendar >= begin) & (calendar <= day)).sum())
        known = Known(provider, day)
        material = backtest.material_of(company, known, replace(grid, sessions=sessions))
        rows.append(backtest.features(company, known, material)[-1])
    return np.stack(rows)
