"""A folder of the user's own files, one a symbol: CSV (Date, Open, High, Low, Close, Adj Close, Volume) or Parquet.

Nothing is cached: the files are on the disk already. Files named SPY, XLK, ... and VIX, VIX3M serve as such; a fund
without a file is made of the folder's companies in equal parts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.data import quality
from perdure.pipelines.market.data.bars import Bars, Finding, Prices, Series, adjusted
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.data.provider import MalformedError, NoSuchSymbolError, SourceError
from perdure.pipelines.market.data.symbols import MARKET, company, funds
from perdure.pipelines.market.folder import table

_INDICES = ("VIX", "VIX3M")
_SUFFIXES = {"csv": (".csv", ".txt"), "parquet": (".parquet", ".pq")}
_FEWEST = 2  # companies of a sector; with fewer, the sector's fund is the market


@dataclass(frozen=True, slots=True)
class Folder:
    """folder: where the files lie. kind: "csv" or "parquet". Raises UsageError when there is no such file in it."""

    folder: Path
    kind: str = "csv"
    name: ClassVar[str] = "folder"

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise UsageError(
                f"{self.folder} is not a folder; give one with a file for each symbol, such as AAPL.csv"
            )
        if not self.symbols():
            ends = " or ".join(_SUFFIXES[self.kind])
            raise UsageError(
                f"{self.folder} has no file for a company that ends in {ends}; name them like AAPL.csv"
            )
        self._require_one_file_each()
        self._require_names()

    def symbols(self) -> tuple[str, ...]:
        """The companies that have a file, in alphabetical order."""
        return tuple(sorted(set(self._files()) - {*funds(), *_INDICES}))

    def prices(self, symbol: str) -> Prices:
        if symbol in self._files():
            return table.prices(self._table(symbol))
        if symbol in funds():
            return _composed(self, symbol, self.state())
        raise NoSuchSymbolError(
            f"{self.folder} has no file for {symbol!r}; it has {', '.join(self.symbols()[:10])}"
        )

    def events(self, symbol: str) -> Events:
        return Events.none()

    def index(self, name: str) -> Series | None:
        return table.series(self._table(name)) if name in self._files() else None

    def oracle(self, symbol: str) -> Series | None:
        return None

    def _files(self) -> dict[str, Path]:
        return dict(self._named())

    def _named(self) -> list[tuple[str, Path]]:
        try:
            paths = sorted(self.folder.iterdir())
        except OSError as error:
            raise UsageError(f"the folder {self.folder} cannot be read: {error.strerror}") from error
        return [
            (path.stem.upper().removesuffix(".US").lstrip("^_"), path)
            for path in paths
            if path.suffix.lower() in _SUFFIXES[self.kind] and not path.name.startswith(".")
        ]

    def _require_one_file_each(self) -> None:
        known: dict[str, Path] = {}
        for symbol, path in self._named():
            other = known.setdefault(symbol, path)
            if other != path:
                raise UsageError(
                    f"{self.folder} has two files for {symbol}: {other.name} and {path.name}; leave one in it"
                )

    def _require_names(self) -> None:
        for symbol, path in self._named():
            if not (symbol and symbol.isprintable()):
                raise UsageError(f"{str(path)!r} names no symbol; name it like AAPL.csv, or take it away")
            if not ((path.is_file() or path.is_dir()) and os.access(path, os.R_OK)):
                raise UsageError(
                    f"{path} is a link to nothing, no file, or not yours to read; mend that, or take it away"
                )

    def state(self) -> tuple[tuple[str, int, int], ...]:
        """What tells the files of now from those of later: a server outlives them."""
        found = ((path, path.stat()) for _, path in self._named())
        return tuple((path.name, one.st_mtime_ns, one.st_size) for path, one in found)

    def _table(self, symbol: str) -> table.Table:
        path = self._files()[symbol]
        return _parquet(path) if self.kind == "parquet" else table.table(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise MalformedError(f"{path}, line {line}: it is not UTF-8 text ({error.reason})") from None
    except OSError as error:
        raise MalformedError(f"{path} cannot be read: {error.strerror}") from None


def _parquet(path: Path) -> table.Table:
    import polars as pl

    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise MalformedError(f"{path} cannot be read as Parquet: {str(error).splitlines()[0]}") from None
    names = tuple(name.strip().lower() for name in frame.columns)
    rows = [["" if cell is None else str(cell) for cell in row] for row in frame.iter_rows()]
    return table.checked(table.Table(str(path), names, rows, range(1, len(rows) + 1)))


@lru_cache(maxsize=16)
def _composed(folder: Folder, fund: str, _state: object) -> Prices:
    """An index of the folder's companies of a sector (of all, for the market) in equal parts.

    A session's open, high, low and close are means of the members' log returns since their close before.
    _state: of the files; what was made of others is not handed out.
    """
    members = [symbol for symbol in folder.symbols() if fund in (MARKET, company(symbol).sector_etf)]
    if len(members) < _FEWEST:
        members = list(folder.symbols())
    tried = [_usable(folder, symbol) for symbol in members]
    usable = [bars for bars in tried if isinstance(bars, Bars)]
    if not usable:
        raise MalformedError(
            f"{folder.folder} has no usable prices to make an index from, in place of {fund}: {tried[0]}"
        )
    day = np.unique(np.concatenate([bars.day[1:] for bars in usable]))
    sums, volume, count = np.zeros((4, len(day))), np.zeros(len(day)), np.zeros(len(day))
    for bars in usable:
        rows = np.searchsorted(day, bars.day[1:])
        table_ = np.stack([bars.open, bars.high, bars.low, bars.close])[:, 1:]
        sums[:, rows] += np.log(table_ / bars.close[:-1])
        volume[rows] += bars.volume[1:]
        count[rows] += 1
    steps = sums / count
    before = np.concatenate([[0.0], np.cumsum(steps[3])[:-1]])
    opened, high, low, close = 100 * np.exp(steps + before)
    what = f"there is no file for {fund}: {len(usable)} companies in equal parts stand for it"
    return Prices.plain(Bars(day, opened, high, low, close, volume), Finding("", what, "mended"))


def _usable(folder: Folder, symbol: str) -> Bars | SourceError:
    """The clean bars of a company, or what is wrong with them."""
    try:
        return adjusted(quality.check(folder.prices(symbol))[0])
    except SourceError as error:
        return error
