"""One symbol, from its source to its labelled samples: what a worker process does for phase 1.

`inspect` and `backtest` are units of two maps over the same companies, into the tables `quality` and `samples`. What
the first has fetched the second finds in the cache.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from perdure.errors import PerdureError
from perdure.pipelines.market.data import quality
from perdure.pipelines.market.data.bars import Bars, Finding, Series, adjusted
from perdure.pipelines.market.data.provider import Provider
from perdure.pipelines.market.data.source import source as source_named
from perdure.pipelines.market.data.symbols import MARKET, Company
from perdure.pipelines.market.features import catalogue
from perdure.pipelines.market.features.matrix import matrix
from perdure.pipelines.market.samples import funds
from perdure.pipelines.market.samples.grid import Grid
from perdure.pipelines.market.samples.labels import Labels, Target, triple_barrier
from perdure.pipelines.market.samples.regimes import regimes
from perdure.pipelines.market.samples.weights import average_uniqueness, time_decay

LEAKED = "ret_1"  # the feature that `leak` lets see the future


class UndefinedFeatureError(PerdureError):
    """A feature of a sample is not a finite number."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How samples are made. half_life: years, of the weights. pace: seconds to wait, so that people can watch. leak:
    plant a look-ahead, for showing that the gate sees it."""

    grid: Grid
    target: Target = "sector"
    half_life: float = 5.0
    pace: float = 0.0
    leak: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Plan:
        """From a run's configuration, which may hold more; what it leaves out has its default."""

        def given(*names: str) -> dict[str, Any]:
            return {name: settings[name] for name in names if name in settings}

        grid = Grid(**given("sessions", "burn_in", "horizon", "stride", "least"))
        return cls(grid, **given("target", "half_life", "pace", "leak"))


@dataclass(frozen=True, slots=True)
class Material:
    """What samples are made of, all inside the grid's window and on the days of the symbol's bars.

    market, sector: the funds' bars. calendar: (m,) datetime64[D], all sessions of the market. regime: (n,) int8.
    """

    bars: Bars
    market: Bars
    sector: Bars
    calendar: np.ndarray
    regime: np.ndarray


def backtest(company: Company, *, source: str, cache: Path, settings: Mapping[str, Any]) -> pl.DataFrame:
    """One row a sample: symbol, sector, day and t1 (ISO text), regime, y, ret, excess, barrier, weight, oracle (None
    where it is not known), then the 202 features by name.

    Raises SourceError, TooFewSamplesError, UndefinedFeatureError.
    """
    plan = Plan.of(settings)
    time.sleep(plan.pace)
    provider = source_named(source, cache=cache, config=settings)
    return samples(company, provider, plan)


def inspect(company: Company, *, source: str, cache: Path, settings: Mapping[str, Any]) -> pl.DataFrame:
    """What the quality checks found: symbol, sector, day, what, done; first a row that says how much was checked.

    Raises SourceError.
    """
    provider = source_named(source, cache=cache, config=settings)
    calendar = checked(provider, MARKET, Plan.of(settings).grid, None).day
    prices = provider.prices(company.symbol)
    _, found = quality.check(prices, days=calendar, fewest=1)
    rows = [Finding("", f"{len(prices.bars)} bars", "checked"), *found]
    kinds = dict.fromkeys(("symbol", "sector", "day", "what", "done"), pl.String)
    own = {"symbol": company.symbol, "sector": company.sector}
    return pl.DataFrame([{**own, **asdict(row)} for row in rows], schema=kinds)


def samples(company: Company, provider: Provider, plan: Plan) -> pl.DataFrame:
    """The rows of `backtest`, from a provider."""
    material = material_of(company, provider, plan.grid)
    bars = material.bars
    rows = plan.grid.rows(company.symbol, bars.day, material.calendar)
    values = features(company, provider, material)[rows]
    labels = triple_barrier(bars, rows, sector=material.sector, horizon=plan.grid.horizon, target=plan.target)
    _require_finite(company.symbol, bars.day[rows], values)
    if plan.leak:
        values[:, catalogue.names().index(LEAKED)] += labels.excess
    newest = material.calendar[-1]
    weight = average_uniqueness(labels.first, labels.last, len(bars))
    weight = weight * time_decay(bars.day[rows], newest, half_life=plan.half_life)
    facts = _facts(company, material, rows, labels) | {
        "weight": weight, "oracle": _values(provider.oracle(company.symbol), bars.day[rows]),
    }  # fmt: skip
    return pl.DataFrame(facts | dict(zip(catalogue.names(), values.T, strict=True)))


def material_of(company: Company, provider: Provider, grid: Grid) -> Material:
    """What the company's samples are made of. Raises SourceError."""
    market = checked(provider, MARKET, grid, None)
    begin = grid.window(market.day)[0]
    here = partial(checked, provider, grid=grid, days=market.day)
    bars, fund = here(company.symbol), here(company.sector_etf)
    bars = bars.take(bars.day >= begin)
    beside = funds.on_days(market, bars.day)
    sector = funds.chained(funds.on_days(fund, bars.day), beside)
    place = np.searchsorted(market.day, bars.day, side="right") - 1
    return Material(bars, beside, sector, market.day, regimes(market.close)[place])


def checked(provider: Provider, symbol: str, grid: Grid, days: np.ndarray | None) -> Bars:
    """A symbol's adjusted bars, of what passed the quality checks. Raises SourceError."""
    prices, _ = quality.check(provider.prices(symbol), days=days, fewest=grid.burn_in + grid.horizon)
    return adjusted(prices)


def features(company: Company, provider: Provider, material: Material) -> np.ndarray:
    """(n, 202) float64 on the material's days."""
    bars = material.bars
    threemonth = provider.index("VIX3M")
    with np.errstate(all="ignore"):  # what numbers beyond measure lead to is told by `_require_finite`
        return matrix(
            bars, material.market.close, material.sector.close, provider.events(company.symbol),
            _values(provider.index("VIX"), bars.day), None if threemonth is None else threemonth.on(bars.day),
        )  # fmt: skip


def _values(series: Series | None, days: np.ndarray) -> np.ndarray:
    return np.full(len(days), np.nan) if series is None else series.on(days)


def _facts(company: Company, material: Material, rows: np.ndarray, labels: Labels) -> dict[str, Any]:
    return {
        "symbol": [company.symbol] * len(rows),
        "sector": [company.sector] * len(rows),
        "day": np.datetime_as_string(material.bars.day[rows], unit="D"),
        "t1": np.datetime_as_string(labels.t1, unit="D"),
        "regime": material.regime[rows],
        "y": labels.y,
        "ret": labels.ret,
        "excess": labels.excess,
        "barrier": labels.barrier,
    }


def _require_finite(symbol: str, days: np.ndarray, values: np.ndarray) -> None:
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        row, column = wrong[0]
        raise UndefinedFeatureError(
            f"{len(wrong)} feature values of {symbol} are not finite, the first {catalogue.names()[column]} on "
            f"{days[row]}; look at its bars, or leave the symbol out"
        )
