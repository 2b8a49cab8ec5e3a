"""The made market as a source of data. It is made from its settings alone, so nothing of it is kept on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.data.bars import Prices, Series
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.data.provider import NoSuchSymbolError
from perdure.pipelines.market.data.symbols import MARKET, Company, companies, funds
from perdure.pipelines.market.synthetic import dirt, factors, news
from perdure.pipelines.market.synthetic.calendar import sessions
from perdure.pipelines.market.synthetic.paths import QUARTER, Path, walk
from perdure.pipelines.market.synthetic.quotes import quotes

_FEWEST = 2 * QUARTER  # sessions: every company has released its earnings by then


@dataclass(frozen=True, slots=True)
class SyntheticProvider:
    """symbols: of the 82; the others are the same with or without them. sessions: days that end on 2025-12-31.

    kappa: the strength of the planted signal; 0 makes a market in which nothing forecasts anything. dirt: with what
    real data has (see `dirt`); without it prices are total returns and every day is there.
    """

    name: ClassVar[str] = "synthetic"
    symbols: tuple[str, ...] = tuple(company.symbol for company in companies())
    sessions: int = 2520
    seed: int = 7
    kappa: float = 0.06
    dirt: bool = True

    def __post_init__(self) -> None:
        unknown = sorted(set(self.symbols) - {company.symbol for company in companies()})
        if unknown:
            raise UsageError(
                f"the synthetic market has no {', '.join(unknown)}; its symbols are those of symbols.csv"
            )
        if self.sessions < _FEWEST or not 0 <= self.kappa <= 1 or self.seed < 0:
            raise UsageError(
                f"sessions={self.sessions}, kappa={self.kappa}, seed={self.seed} make no market; give at least "
                f"{_FEWEST} sessions, a kappa from 0 to 1, and a seed of 0 or more"
            )

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Self:
        """From a run's settings, where the seed is `market_seed`; what they do not name keeps its default."""
        given = {field.name: config[field.name] for field in fields(cls) if field.name in config}
        if "market_seed" in config:
            given["seed"] = config["market_seed"]
        if "symbols" in given:
            given["symbols"] = tuple(given["symbols"])
        return cls(**given)

    def prices(self, symbol: str) -> Prices:
        if symbol in funds():
            return _fund(symbol, self.sessions, self.seed, self.kappa == 0)
        return _stock(self._company(symbol), self.sessions, self.seed, self.kappa, self.dirt)

    def events(self, symbol: str) -> Events:
        if symbol in funds():
            return Events.none()
        return _events(self._company(symbol), self.sessions, self.seed, self.kappa, self.dirt)

    def index(self, name: str) -> Series | None:
        shared = factors.factors(self.sessions, self.seed, self.kappa == 0)
        values = {"VIX": shared.vix, "VIX3M": shared.vix3m}
        return Series(sessions(self.sessions), values[name]) if name in values else None

    def oracle(self, symbol: str) -> Series | None:
        """The expected return beside the sector's fund over the next 10 sessions, given all that is known at the
        close, in standard deviations; it ranks days and symbols alike, and is 0 where kappa is."""
        if symbol in funds():
            return None
        path = _path(self._company(symbol), self.sessions, self.seed, self.kappa)
        return Series(sessions(self.sessions), path.oracle)

    def _company(self, symbol: str) -> Company:
        for company in companies():
            if company.symbol == symbol and symbol in self.symbols:
                return company
        raise NoSuchSymbolError(
            f"this synthetic market has no symbol {symbol!r}; it was made with {len(self.symbols)}"
        )


# A process asks for the same few things again and again: for every symbol its sector's fund, for every label too.


@lru_cache(maxsize=128)
def _path(company: Company, count: int, seed: int, kappa: float) -> Path:
    market = factors.factors(count, seed, kappa == 0)
    own = factors.sector(company.sector_etf, count, seed)
    return walk(company.symbol, company.sector_etf, market, own, seed=seed, kappa=kappa)


@lru_cache(maxsize=16)
def _fund(symbol: str, count: int, seed: int, null: bool) -> Prices:
    rng = factors.stream(seed, factors.BAR_STREAM, symbol)
    market = factors.factors(count, seed, null)
    log_return, volatility = market.market, market.volatility
    if symbol != MARKET:
        own = factors.sector(symbol, count, seed)
        log_return = own.beta * log_return + own.own
        volatility = np.hypot(own.beta * volatility, own.volatility)
    bars = quotes(
        rng, sessions(count), log_return, volatility, np.zeros(count, bool), start=100.0, shares=2e7
    )
    return Prices.plain(bars)


@lru_cache(maxsize=16)
def _stock(company: Company, count: int, seed: int, kappa: float, dirty: bool) -> Prices:
    rng = factors.stream(seed, factors.BAR_STREAM, company.symbol)
    path = _path(company, count, seed, kappa)
    start, shares = np.exp(rng.normal(4, 0.5)), np.exp(15 + 0.8 * rng.standard_normal())
    bars = quotes(
        rng, sessions(count), path.log_return, path.volatility, path.release, start=start, shares=shares
    )
    if not dirty:
        return Prices.plain(bars)
    rng = factors.stream(seed, factors.DIRT_STREAM, company.symbol)
    prices = dirt.listed(company.symbol, dirt.as_traded(rng, bars), count)
    return replace(prices, bars=dirt.soiled(rng, prices.bars))


@lru_cache(maxsize=16)
def _events(company: Company, count: int, seed: int, kappa: float, dirty: bool) -> Events:
    rng = factors.stream(seed, factors.NEWS_STREAM, company.symbol)
    all_known = news.events(rng, _path(company, count, seed, kappa), sessions(count, beyond=news.BEYOND))
    if not dirty:
        return all_known
    return dirt.since(all_known, _stock(company, count, seed, kappa, dirty).bars.day[0])
