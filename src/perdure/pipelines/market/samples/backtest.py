"""One symbol, from its source to its labelled samples: what a worker process does for phase 1.

`inspect` and `backtest` are units of two maps over the same companies, into the tables `quality` and `samples`. What
the first has fetched the second finds in the cache. `newest` makes the row that a forecast is made from, by the same
code; `truncated` compares the two.
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
from perdure.pipelines.market.data.bars import Bars, Prices, Series, adjusted
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.data.provider import Provider
from perdure.pipelines.market.data.source import source as source_named
from perdure.pipelines.market.data.symbols import MARKET, Company
from perdure.pipelines.market.features import catalogue
from perdure.pipelines.market.features.calendar import cut_offs
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
        return Series(series.day[series.day <= self.day], series.value[series.day <= self.day])


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
    """One row a finding of the quality checks: symbol, day, what, done. Raises SourceError."""
    provider = source_named(source, cache=cache, config=settings)
    calendar = checked(provider, MARKET, Plan.of(settings).grid, None).day
    _, found = quality.check(provider.prices(company.symbol), days=calendar, fewest=1)
    kinds = {"symbol": pl.String, "day": pl.String, "what": pl.String, "done": pl.String}
    return pl.DataFrame([{"symbol": company.symbol, **asdict(finding)} for finding in found], schema=kinds)


def truncated(company: Company, *, source: str, cache: Path, settings: Mapping[str, Any]) -> list[str]:
    """Names of features whose value in a sample is not, bit for bit, what could be computed on the day itself.

    Looks at the first, the middle and the last sample; each must be remade from a source that ends on its day. Empty
    unless something looks into the future.
    """
    plan = Plan.of(settings)
    provider = source_named(source, cache=cache, config=settings)
    table = samples(company, provider, plan)
    begin = plan.grid.window(_checked(provider, MARKET, plan.grid, None).day)[0]
    values = table.select(catalogue.names()).to_numpy()
    wrong = np.zeros(values.shape[1], bool)
    for row in (0, len(table) // 2, len(table) - 1):
        day = np.datetime64(table["day"][row], "D")
        wrong |= newest(company, Until(provider, day), plan, begin=begin).values != values[row]
    return [name for name, differs in zip(catalogue.names(), wrong, strict=True) if differs]


def newest(company: Company, provider: Provider, plan: Plan, *, begin: np.datetime64 | None = None) -> Newest:
    """The features and regime of the last session of `provider`, for a forecast. Raises SourceError.

    begin: the first day that is looked at, if not that of the grid's window.
    """
    material = _material(company, provider, plan.grid, begin)
    values = _features(company, provider, material)[-1]
    return Newest(material.bars.day[-1], values, int(material.regime[-1]))


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
