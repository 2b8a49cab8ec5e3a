"""The exchange's own history of its volatility indices."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.pipelines.market.data.bars import Series
from perdure.pipelines.market.data.provider import MalformedError
from perdure.pipelines.market.folder import table
from perdure.pipelines.market.web.http import Fetcher, Request

_URL = "https://cdn.cboe.com/api/global/us_indices/daily_prices/{name}_History.csv"


@dataclass(frozen=True, slots=True)
class Cboe:
    """VIX and VIX3M."""

    fetcher: Fetcher

    def index(self, name: str) -> Series | None:
        if name not in ("VIX", "VIX3M"):
            return None
        return closes(self.fetcher.fetch(Request("cboe", name, "index", _URL.format(name=name), closes)))


def closes(body: bytes) -> Series:
    """DATE,OPEN,HIGH,LOW,CLOSE with dates such as 12/31/2024."""
    text = body.decode("utf-8", "replace")
    if not text.lstrip("\ufeff").lower().startswith("date"):
        raise MalformedError(f"CBOE answered {text[:100].strip()!r} in place of a table")
    return table.series(table.table(text, "CBOE's table"))
