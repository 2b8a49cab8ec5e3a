"""GDELT's timelines of news: how many articles name a company a day, and their mean tone. They begin in 2017.

https://blog.gdeltproject.org/gdelt-doc-2-0-api-debuts/
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import numpy as np

from perdure.pipelines.market.data.events import News
from perdure.pipelines.market.data.provider import MalformedError, RateLimitedError
from perdure.pipelines.market.web.http import Fetcher, Request, document

_URL = (
    "https://api.gdeltproject.org/api/v2/doc/doc?query={query}&mode={mode}&format=json"
    "&startdatetime=20170101000000&enddatetime={end}235959"
)
_STRONG = 10.0  # tone runs from -100 to 100, and this much is strong already
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class Gdelt:
    """last: the last day to ask for."""

    fetcher: Fetcher
    last: np.datetime64

    def news(self, symbol: str, *, company: str) -> News:
        """A UTC day's articles count from the end of that day on: that is when their number was known."""
        day, articles = self._timeline(symbol, company, "timelinevolraw")
        toned, tone = self._timeline(symbol, company, "timelinetone")
        rows = np.minimum(np.searchsorted(toned, day), len(toned) - 1)
        some = (articles > 0) & (toned[rows] == day)
        sentiment = np.clip(tone[rows] / _STRONG, -1, 1)
        return News((day + _DAY).astype("datetime64[s]")[some], articles[some], sentiment[some])

    def _timeline(self, symbol: str, company: str, mode: str) -> tuple[np.ndarray, np.ndarray]:
        query = quote(f'"{company}" sourcelang:english')
        url = _URL.format(query=query, mode=mode, end=str(self.last).replace("-", ""))
        return timeline(self.fetcher.fetch(Request("gdelt", symbol, mode, url, timeline)))


def timeline(body: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(n,) days, rising, and (n,) values. Errors come as a sentence with HTTP 200."""
    if not body.lstrip().startswith(b"{"):
        said = body[:150].decode("utf-8", "replace").strip()
        if "limit requests" in said.lower():
            raise RateLimitedError(f"GDELT answered {said!r}", 5.0)
        raise MalformedError(f"GDELT answered {said!r} in place of a timeline")
    try:
        rows = document(body, dict)["timeline"][0]["data"]
        days = np.array([f"{r['date'][:4]}-{r['date'][4:6]}-{r['date'][6:8]}" for r in rows], "datetime64[D]")
        values = np.array([row["value"] for row in rows], np.float64)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise MalformedError(f"GDELT's timeline lacks {error}; the company's name may be too rare") from error
    if not len(days):
        raise MalformedError("GDELT's timeline is empty; the company's name may be too rare")
    day, first = np.unique(days, return_index=True)
    return day, values[first]
