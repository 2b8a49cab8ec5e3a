"""What became public about a company, each with the moment from which it could be known.

All `available_at` are datetime64[s] in UTC, rising; an event counts for a session when it was available 15 minutes
before the close.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np


def utc(local: np.ndarray) -> np.ndarray:
    """(k,) datetime64[s] in UTC of moments on New York's clocks.

    US rule: summer time from the second Sunday of March to the first of November; from 1987 to 2006 from the first of
    April to the last of October. Without a database of time zones, which not every system has.
    """
    local = local.astype("datetime64[s]")
    year = local.astype("datetime64[Y]")
    old = year < np.datetime64("2007")
    begin = np.where(old, _sunday(year, 3, 0), _sunday(year, 2, 7))
    end = np.where(old, _sunday(year, 9, 24), _sunday(year, 10, 0))
    summer = (local >= begin + np.timedelta64(2, "h")) & (local < end + np.timedelta64(2, "h"))
    return local + np.where(summer, np.timedelta64(4, "h"), np.timedelta64(5, "h"))


def _sunday(year: np.ndarray, month: int, skipped: int) -> np.ndarray:
    """The first Sunday of the month (0 January) after its first `skipped` days."""
    first = (year.astype("datetime64[M]") + month).astype("datetime64[D]") + skipped
    return (first + (3 - first.astype(np.int64)) % 7).astype(
        "datetime64[s]"
    )  # day 3, 1970-01-04, was a Sunday


@dataclass(frozen=True, slots=True)
class Dated:
    """A table of events; every column is (k,), in order of `available_at`."""

    available_at: np.ndarray

    def __len__(self) -> int:
        return len(self.available_at)

    def until(self, moment: np.datetime64) -> Self:
        """What was available at `moment` (UTC)."""
        return self.take(self.available_at <= moment)

    def since(self, moment: np.datetime64) -> Self:
        """What became available at `moment` (UTC) or later."""
        return self.take(self.available_at >= moment)

    def take(self, rows: np.ndarray) -> Self:
        """The events at `rows` (a mask or indices)."""
        return type(self)(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @classmethod
    def none(cls) -> Self:
        """An empty table."""
        return cls(**{f.name: np.empty(0, _DTYPES.get(f.name, np.dtype(np.float64))) for f in fields(cls)})


_DTYPES: dict[str, Any] = {
    "available_at": np.dtype("datetime64[s]"), "form": np.dtype("U16"), "items": np.dtype("U64"),
    "code": np.dtype("U1"), "insider": np.dtype("U32"), "planned": np.dtype(bool), "day": np.dtype("datetime64[D]"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Filings(Dated):
    """form: "8-K", "10-Q", "NT 10-K", "10-K/A" ...; items: of an 8-K, as "2.02,9.01"; size: bytes, NaN unknown."""

    form: np.ndarray
    items: np.ndarray
    size: np.ndarray


@dataclass(frozen=True, slots=True)
class InsiderTrades(Dated):
    """Form 4. code: "P" bought or "S" sold; dollars: positive; insider: a name; planned: under a 10b5-1 plan."""

    code: np.ndarray
    dollars: np.ndarray
    insider: np.ndarray
    planned: np.ndarray


@dataclass(frozen=True, slots=True)
class Earnings(Dated):
    """Releases of quarterly results. eps: earnings a share as first reported, NaN unknown."""

    eps: np.ndarray


@dataclass(frozen=True, slots=True)
class Announcements(Dated):
    """Dates of coming releases, as announced. day: of the release."""

    day: np.ndarray


@dataclass(frozen=True, slots=True)
class News(Dated):
    """articles: how many there were (float64); sentiment: their mean tone, -1 to 1."""

    articles: np.ndarray
    sentiment: np.ndarray


@dataclass(frozen=True, slots=True)
class Events:
    """All that became public about one company."""

    filings: Filings
    insider_trades: InsiderTrades
    earnings: Earnings
    announcements: Announcements
    news: News

    def until(self, moment: np.datetime64) -> Events:
        """What was available at `moment` (UTC)."""
        return Events(*(getattr(self, field.name).until(moment) for field in fields(self)))

    @classmethod
    def none(cls) -> Events:
        """No events at all, for a source that has none."""
        return cls(Filings.none(), InsiderTrades.none(), Earnings.none(), Announcements.none(), News.none())
