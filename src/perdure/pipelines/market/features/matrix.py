"""All features of a symbol: (n, 202), in the catalogue's order."""

from __future__ import annotations

import numpy as np

from perdure.errors import PerdureError
from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.features import catalogue, returns, trend, volume
from perdure.pipelines.market.features.happenings import event_features

BURN_IN = 273  # bars; every feature is finite from the bar of this index on


class CatalogueError(PerdureError):
    """The features that were computed are not those of the catalogue."""


def technical(bars: Bars, *, market: np.ndarray, sector: np.ndarray) -> dict[str, np.ndarray]:
    """The 179 features made of bars, by name, each (n,) float64.

    market, sector: (n,) closes of the market's and the sector's fund on the bars' days. A value at bar t depends on
    bars up to t alone, bit for bit. NaN where history is too short, which is nowhere from bar BURN_IN on.
    """
    return {
        **returns.price_return(bars),
        **returns.price_position(bars),
        **trend.trend(bars),
        **trend.momentum(bars),
        **returns.volatility(bars),
        **volume.volume_liquidity(bars),
        **volume.candle_pattern(bars),
        **returns.statistical(bars),
        **returns.market_context(bars, market, sector),
    }


def matrix(
    bars: Bars,
    market: np.ndarray,
    sector: np.ndarray,
    events: Events,
    vix: np.ndarray,
    vix3m: np.ndarray | None,
) -> np.ndarray:
    """(n, 202) float64. Raises CatalogueError when a feature is missing, or is not in the catalogue."""
    of_bars = technical(bars, market=market, sector=sector)
    of_events = event_features(bars, sector=sector, events=events, vix=vix, vix3m=vix3m)
    return arranged({**of_bars, **of_events})


def arranged(found: dict[str, np.ndarray]) -> np.ndarray:
    """(n, 202): the columns in the catalogue's order. Raises CatalogueError when the names differ from it."""
    expected = catalogue.names()
    missing, extra = sorted(set(expected) - found.keys()), sorted(found.keys() - set(expected))
    if missing or extra:
        raise CatalogueError(
            f"features {missing} of catalogue.csv were not computed and {extra} are not in it; make the two agree"
        )
    return np.column_stack([found[name] for name in expected])
