"""Tables of bars as text: what their columns mean, and how their dates and numbers are written."""

from __future__ import annotations

import csv
import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.pipelines.market.data.bars import Bars, Finding, Prices, Series
from perdure.pipelines.market.data.provider import MalformedError

_NAMES = {
    "date": "day", "datetime": "day", "timestamp": "day", "day": "day", "time": "day",
    "open": "open", "high": "high", "low": "low", "close": "close", "close/last": "close", "price": "close",
    "adj close": "adjusted", "adj_close": "adjusted", "adjclose": "adjusted", "volume": "volume", "vol": "volume",
}  # fmt: skip
_MISSING = frozenset(("", "null", "none", "nan", "na", "n/a", "-", "."))
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)[T ].*")
# Month first before day first: a column of daily dates has a day above 12, and then only one of them fits.
_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d-%b-%Y", "%b %d, %Y")
_YEARS = (1800, 2199)  # a market's; one stray day beyond would move the window of all symbols
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?")  # 1,234,567.8; in 99,5 the comma is no such one
_STEP = 1e-3  # relative change of Adj Close to Close that rounding does not explain
_SPLIT = 0.3  # log of it beyond which it was a split, not a dividend


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under lower-case names. origin: for messages. lines: of each row in its file."""

    origin: str
    names: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def has(self, role: str) -> bool:
        return role in self._roles()

    def numbers(self, role: str) -> np.ndarray:
        """(n,) float64; NaN where a cell is empty or says that it is missing."""
        position = self._roles()[role]
        return np.array(
            [self._number(row[position], line) for row, line in zip(self.rows, self.lines, strict=True)]
        )

    def days(self) -> np.ndarray:
        """(n,) datetime64[D]; all rows must be written alike."""
        position = self._roles()["day"]
        texts = [_ISO.sub(r"\1", row[position].strip()) for row in self.rows]
        parsed = [_parsed(texts, pattern) for pattern in _FORMATS]
        best = max(parsed, key=len)
        if len(best) < len(texts):
            raise MalformedError(
                f"{self.origin}, line {self.lines[len(best)]}: {texts[len(best)]!r} is no date like those above it; "
                "write dates as 2024-12-31"
            )
        for day, line in zip(best, self.lines, strict=True):
            if not _YEARS[0] <= day.year <= _YEARS[1]:
                raise MalformedError(
                    f"{self.origin}, line {line}: there was no market on {day}; correct the year"
                )
        return np.array(best, "datetime64[D]")

    def _roles(self) -> dict[str, int]:
        """Where each is; the first of several, as of a date and a time."""
        named = reversed(list(enumerate(self.names)))
        return {_NAMES[name]: position for position, name in named if name in _NAMES}

    def _number(self, cell: str, line: int) -> float:
        text = cell.strip().lstrip("$")
        if _GROUPED.fullmatch(text):
            text = text.replace(",", "")
        if text.lower() in _MISSING:
            return float("nan")
        try:
            if "_" in text:  # Python takes 1_000 for a number; files do not
                raise ValueError
            return float(text)
        except ValueError:
            hint = "; write decimals with a point" if "," in text else ""
            raise MalformedError(f"{self.origin}, line {line}: {cell[:80]!r} is no number{hint}") from None


def _parsed(texts: Sequence[str], pattern: str) -> list[dt.date]:
    """The dates up to the first that is written otherwise."""
    days: list[dt.date] = []
    for text in texts:
        try:
            days.append(dt.datetime.strptime(text, pattern).date())
        except ValueError:
            break
    return days


def table(text: str, origin: str) -> Table:
    """A delimited text with a header. Raises MalformedError, with the line."""
    first, _, _ = text.partition("\n")
    reader = csv.reader(text.splitlines(), delimiter=max(",;\t", key=first.count))
    try:
        return _read(reader, origin)
    except csv.Error as error:
        raise MalformedError(f"{origin}, line {reader.line_num}: it is no table ({error})") from None


def _read(reader: Any, origin: str) -> Table:
    names = tuple(name.strip().lower().strip("<>\ufeff") for name in next(reader, []))
    rows, lines = [], []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(names):
            raise MalformedError(
                f"{origin}, line {reader.line_num}: it has {len(row)} cells, and the header has {len(names)}"
            )
        rows.append(row)
        lines.append(reader.line_num)
    return checked(Table(origin, names, rows, lines))


def checked(given: Table) -> Table:
    """The table, if it has days, closes and rows."""
    missing = [name for role, name in (("day", "Date"), ("close", "Close")) if not given.has(role)]
    if missing:
        raise MalformedError(
            f"{given.origin}, line 1: there is no column {' and no '.join(missing)}; the columns are "
            f"{', '.join(given.names)[:200] or 'none'}"
        )
    twice = [name for name in _NAMES if given.names.count(name) > 1]
    if twice:
        raise MalformedError(
            f"{given.origin}, line 1: there are several columns {twice[0]}; leave one of them"
        )
    if not given.rows:
        raise MalformedError(f"{given.origin}: there are column names and no rows")
    return given


def series(given: Table) -> Series:
    """Days and closes, in order of the days, of a day that is there twice the first."""
    day, first = np.unique(given.days(), return_index=True)
    value = given.numbers("close")[first]
    return Series(day[np.isfinite(value)], value[np.isfinite(value)])


def prices(given: Table) -> Prices:
    """Bars in the order of the rows, and what Adj Close tells about dividends and splits."""
    close = given.numbers("close")
    findings = []
    if all(given.has(role) for role in ("open", "high", "low")):
        opened, high, low = (given.numbers(role) for role in ("open", "high", "low"))
    else:
        opened, high, low = close.copy(), close.copy(), close.copy()
        findings.append(Finding("", "there are closes only: they stand for open, high and low", "mended"))
    if given.has("volume"):
        volume = np.nan_to_num(given.numbers("volume"))
    else:
        volume = np.zeros(len(close))
        findings.append(Finding("", "there is no volume: it counts as 0", "mended"))
    bars = Bars(given.days(), opened, high, low, close, volume)
    bars = bars.take(np.argsort(bars.day, kind="stable")) if _falls(bars.day) else bars
    if not given.has("adjusted"):
        return Prices.plain(bars, *findings)
    adjusted = given.numbers("adjusted")
    if _falls(given.days()):
        adjusted = adjusted[np.argsort(given.days(), kind="stable")]
    findings.append(Finding("", "dividends and splits were worked out from Adj Close", "mended"))
    return _with_actions(bars, adjusted, tuple(findings))


def _falls(day: np.ndarray) -> bool:
    """Whether the newest day comes first, as some sites write it."""
    return len(day) > 1 and bool((np.diff(day).astype(np.int64) <= 0).all())


def _with_actions(bars: Bars, adjusted: np.ndarray, findings: tuple[Finding, ...]) -> Prices:
    """A step of Adj Close over Close is a dividend d on the close p before, p / (p - d), or else a split."""
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = adjusted / bars.close
        step = np.log(factor[1:] / factor[:-1])
    split = np.flatnonzero(np.isfinite(step) & (np.abs(step) > _SPLIT))
    paid = np.flatnonzero(np.isfinite(step) & (step > _STEP) & (step <= _SPLIT))
    return Prices(
        bars, bars.day[split + 1], np.exp(step[split]), bars.day[paid + 1],
        -bars.close[paid] * np.expm1(-step[paid]), findings,
    )  # fmt: skip
