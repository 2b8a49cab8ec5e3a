"""Stooq's CSV of daily prices, which are adjusted already."""

from __future__ import annotations

from dataclasses import dataclass, replace

from perdure.pipelines.market.data.bars import Finding, Prices
from perdure.pipelines.market.data.provider import MalformedError, NoSuchSymbolError, RateLimitedError
from perdure.pipelines.market.folder import table
from perdure.pipelines.market.web.http import Fetcher, Request

_URL = "https://stooq.com/q/d/l/?s={symbol}.us&i=d"
_ADJUSTED = Finding("", "Stooq's prices are adjusted already; as traded they are not to be had", "kept")


@dataclass(frozen=True, slots=True)
class Stooq:
    """Daily prices of US stocks and funds."""

    fetcher: Fetcher

    def prices(self, symbol: str) -> Prices:
        url = _URL.format(symbol=symbol.lower().replace(".", "-"))
        return prices(self.fetcher.fetch(Request("stooq", symbol, "prices", url, prices)))


def prices(body: bytes) -> Prices:
    """Errors come as a sentence with HTTP 200."""
    text = body.decode("utf-8", "replace")
    if text.strip().lower() in ("no data", "brak danych"):
        raise NoSuchSymbolError("Stooq has no data for the symbol; check it")
    if "limit" in text[:200].lower():
        raise RateLimitedError(
            f"Stooq answered {text[:100].strip()!r}; run again tomorrow, or use another source"
        )
    if not text.lower().startswith("date,"):
        raise MalformedError(f"Stooq answered {text[:100].strip()!r} in place of a table")
    given = table.prices(table.table(text, "Stooq's table"))
    return replace(given, findings=(*given.findings, _ADJUSTED))
