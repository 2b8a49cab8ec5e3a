"""Yahoo's chart service, which `yfinance` reads too. Its prices and volumes are in today's share count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.pipelines.market.data.bars import Bars, Prices
from perdure.pipelines.market.data.provider import MalformedError, NoSuchSymbolError
from perdure.pipelines.market.web.http import Fetcher, Request, document

_URL = "https://query1.finance.yahoo.com/v8/finance/chart/{symbol}?period1=0&period2=9999999999&interval=1d&events=div,split"


@dataclass(frozen=True, slots=True)
class Yahoo:
    """Daily prices. Yahoo writes BRK.B as BRK-B."""

    fetcher: Fetcher

    def prices(self, symbol: str) -> Prices:
        url = _URL.format(symbol=symbol.replace(".", "-"))
        return prices(self.fetcher.fetch(Request("yahoo", symbol, "prices", url, prices)))


def prices(body: bytes) -> Prices:
    """As traded: what Yahoo divided by later splits is multiplied again."""
    answer = document(body, dict).get("chart") or {}
    if answer.get("error"):
        raise _refusal(answer["error"])
    try:
        result = answer["result"][0]
        times, quote = result["timestamp"], result["indicators"]["quote"][0]
        zone = result["meta"]["gmtoffset"]
        columns = [np.array(quote[name], np.float64) for name in ("open", "high", "low", "close", "volume")]
        splits, paid = (_events(result, kind, zone) for kind in ("splits", "dividends"))
        split_ratio = np.array([item["numerator"] / item["denominator"] for _, item in splits], np.float64)
        dividend = np.array([item["amount"] for _, item in paid], np.float64)
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
        raise MalformedError(f"the chart lacks {error}; the service may have changed") from error
    day = _days(times, zone)
    if not len(day) or any(column.shape != day.shape for column in columns):
        raise MalformedError("the chart has no bars, or columns of different lengths")
    split_day, dividend_day = (np.array([at for at, _ in found], "datetime64[D]") for found in (splits, paid))
    closed = slice(0, len(day) - _is_open(result["meta"], times[-1]))
    later = _later(split_day, split_ratio, day)
    opened, high, low, close = (column * later for column in columns[:4])
    bars = Bars(day, opened, high, low, close, np.nan_to_num(columns[4] / later)).take(closed)
    return Prices(
        bars, split_day, split_ratio, dividend_day, dividend * _later(split_day, split_ratio, dividend_day)
    )


def _refusal(error: dict[str, Any]) -> MalformedError | NoSuchSymbolError:
    said = f"{error.get('code')}: {error.get('description')}"
    if error.get("code") == "Not Found":
        return NoSuchSymbolError(f"Yahoo does not know the symbol ({said}); check it")
    return MalformedError(f"Yahoo answered {said}")


def _days(times: list[int], zone: int) -> np.ndarray:
    """The exchange's dates of moments in seconds since the epoch."""
    return (np.array(times, np.int64) + zone).astype("datetime64[s]").astype("datetime64[D]")


def _events(result: dict[str, Any], kind: str, zone: int) -> list[tuple[np.datetime64, dict[str, Any]]]:
    found = sorted((result.get("events", {}).get(kind) or {}).values(), key=lambda item: item["date"])
    return [(_days([item["date"]], zone)[0], item) for item in found]


def _later(split_day: np.ndarray, ratio: np.ndarray, day: np.ndarray) -> np.ndarray:
    """(n,) today's shares for one share of each day."""
    grown = np.concatenate([[1.0], np.cumprod(ratio)])
    return grown[-1] / grown[np.searchsorted(split_day, day, side="right")]


def _is_open(meta: dict[str, Any], last: int) -> bool:
    """Whether the last bar is of a session that still goes on: its close is not one yet."""
    session = (meta.get("currentTradingPeriod") or {}).get("regular") or {}
    start, end = session.get("start", 0), session.get("end", 0)
    return bool(last >= start and meta.get("regularMarketTime", end) < end)
