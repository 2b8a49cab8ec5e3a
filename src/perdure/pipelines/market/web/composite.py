"""One provider of several sources: prices of one, filings of EDGAR, news of GDELT, the VIX of CBOE."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from perdure.pipelines.market.data.bars import Prices, Series
from perdure.pipelines.market.data.cache import Cache, Cached
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.data.symbols import funds
from perdure.pipelines.market.web.bucket import Bucket
from perdure.pipelines.market.web.cboe import Cboe
from perdure.pipelines.market.web.edgar import Edgar
from perdure.pipelines.market.web.gdelt import Gdelt
from perdure.pipelines.market.web.http import Http
from perdure.pipelines.market.web.stooq import Stooq
from perdure.pipelines.market.web.tiingo import Tiingo
from perdure.pipelines.market.web.yahoo import Yahoo

# Requests a second on average, and at once. EDGAR allows 10 a second, GDELT one in 5 s, Tiingo 50 an hour.
_PACES = {
    "yfinance": (0.5, 5.0), "stooq": (0.5, 5.0), "tiingo": (50 / 3600, 45.0),
    "edgar": (8.0, 8.0), "gdelt": (1 / 6, 1.0), "cboe": (1.0, 2.0),
}  # fmt: skip
_HISTORY = np.timedelta64(
    13 * 365, "D"
)  # of filings: ten years of bars, and three more for a surprise's history
_BROWSER = "Mozilla/5.0 (compatible; perdure)"


class PriceSource(Protocol):
    """Where the prices come from."""

    def prices(self, symbol: str) -> Prices: ...


@dataclass(frozen=True, slots=True)
class Web:
    """Follows `Provider`. All that is fetched is kept in the cache, so that a rerun downloads nothing."""

    name: str
    source: PriceSource
    edgar: Edgar
    gdelt: Gdelt
    cboe: Cboe

    def prices(self, symbol: str) -> Prices:
        return self.source.prices(symbol)

    def events(self, symbol: str) -> Events:
        if symbol in funds():
            return Events.none()
        _, company = self.edgar.company(symbol)
        return replace(self.edgar.events(symbol), news=self.gdelt.news(symbol, company=company))

    def index(self, name: str) -> Series | None:
        return self.cboe.index(name)

    def oracle(self, symbol: str) -> Series | None:
        return None


def web(name: str, *, cache: Path, last: np.datetime64, environment: Mapping[str, str] = os.environ) -> Web:
    """The web with prices of `name`: "yfinance", "stooq" or "tiingo". last: the last day of interest.

    Raises UsageError where a token is missing.
    """
    import httpx

    client = httpx.Client(timeout=30, follow_redirects=True, headers={"User-Agent": _BROWSER})

    def fetcher(source: str) -> Cached:
        rate, burst = _PACES[source]
        bucket = Bucket(cache / "buckets.sqlite", source, rate, burst)
        return Cached(Cache(cache), Http(client, bucket))

    edgar = Edgar.of(fetcher("edgar"), environment, first=last - _HISTORY)
    return Web(
        name,
        _prices(name, fetcher(name), environment),
        edgar,
        Gdelt(fetcher("gdelt"), last),
        Cboe(fetcher("cboe")),
    )


def _prices(name: str, fetcher: Cached, environment: Mapping[str, str]) -> PriceSource:
    if name == "tiingo":
        return Tiingo.of(fetcher, environment)
    return Yahoo(fetcher) if name == "yfinance" else Stooq(fetcher)
