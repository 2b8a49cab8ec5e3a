"""Tiingo's daily prices, as traded, with dividends and splits. It needs a token: TIINGO_TOKEN."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.data.bars import Bars, Prices
from perdure.pipelines.market.data.provider import MalformedError, NoSuchSymbolError, RateLimitedError
from perdure.pipelines.market.web.http import Fetcher, Request, document

_URL = "https://api.tiingo.com/tiingo/daily/{symbol}/prices?startDate=1980-01-01&format=json"
_COLUMNS = ("open", "high", "low", "close", "volume", "splitFactor", "divCash")


@dataclass(frozen=True, slots=True)
class Tiingo:
    """The token travels in a header, so that no address in a message or a log shows it."""

    fetcher: Fetcher
    token: str = field(repr=False)

    @classmethod
    def of(cls, fetcher: Fetcher, environment: Mapping[str, str]) -> Tiingo:
        token = environment.get("TIINGO_TOKEN", "").strip()
        if not token:
            raise UsageError(
                "the source tiingo needs a token; get one at tiingo.com and set TIINGO_TOKEN to it"
            )
        return cls(fetcher, token)

    def prices(self, symbol: str) -> Prices:
        url = _URL.format(symbol=symbol.lower().replace(".", "-"))
        headers = {"Authorization": f"Token {self.token}"}
        return prices(self.fetcher.fetch(Request("tiingo", symbol, "prices", url, prices, headers)))


def prices(body: bytes) -> Prices:
    """A list of days; an object in its place holds an error."""
    rows = document(body, list | dict)
    if isinstance(rows, dict):
        said = str(rows.get("detail", rows))[:100]
        if "allocation" in said.lower() or "limit" in said.lower():
            raise RateLimitedError(f"Tiingo answered {said!r}; wait an hour, and run again")
        if "not found" in said.lower():
            raise NoSuchSymbolError(f"Tiingo answered {said!r}; check the symbol")
        raise MalformedError(f"Tiingo answered {said!r} in place of prices")
    if not rows:
        raise MalformedError("Tiingo answered with an empty table")
    try:
        day = np.array([row["date"][:10] for row in rows], "datetime64[D]")
        opened, high, low, close, volume, split, paid = (
            np.array([row[name] for row in rows], np.float64) for name in _COLUMNS
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedError(
            f"a row of Tiingo's table lacks {error}; the service may have changed"
        ) from error
    changed, paying = (split != 1) & (split > 0), paid > 0
    return Prices(
        Bars(day, opened, high, low, close, np.nan_to_num(volume)),
        day[changed], split[changed], day[paying], paid[paying],
    )  # fmt: skip
