"""Long tables, a measurement per row: time, flux, and where the table has it, the star and its label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perdure.pipelines.exoplanet.curves import LENGTH, UNKNOWN
from perdure.pipelines.exoplanet.reading.columns import (
    label_of,
    parquet_table,
    roles_of,
    star_label,
    star_names,
)
from perdure.pipelines.exoplanet.reading.result import Reading, Series, UnreadableError, refusing
from perdure.pipelines.exoplanet.reading.rules import even_series, join, series_to_curves
from perdure.pipelines.exoplanet.reading.text import header

if TYPE_CHECKING:
    import polars as pl

_NO_LABELS: Mapping[str, int] = {}
_MISSING = ("", "na", "n/a", "nan", "null", "none")


@dataclass(frozen=True, slots=True)
class _Star:
    name: str
    words: tuple[str, ...]  # the different labels that the table gives it
    row: int  # its first
    time: np.ndarray
    flux: np.ndarray


def read_long(path: Path, *, length: int = LENGTH, labels: Mapping[str, int] = _NO_LABELS) -> Reading:
    """The curves of a long CSV or Parquet file: each star's measurements in order, on an even grid.

    A star's label is the table's own, else the one in `labels`, else that of the file's folder (`planet/`,
    `none/`). A line whose time or flux is no number is rejected; a row without flux is a gap. Time is in
    days.
    """
    stars, rejected = _stars(path)
    parts: list[Reading] = []
    for star in stars:
        try:
            label = _label(star, path, labels)
            parts += [
                series_to_curves(series, label=label, row=star.row, length=length)
                for series in even_series(star.time, star.flux, star.name, length=length)
            ]
        except UnreadableError as error:
            rejected.append((star.row, str(error)))
    return join(parts, rejected, length=length)


def read_long_series(path: Path, *, length: int = LENGTH) -> list[Series]:
    """The series of each star of a long file with their times; a break of over `length` cadences parts them."""
    stars, _ = _stars(path)
    return [
        series for star in stars for series in even_series(star.time, star.flux, star.name, length=length)
    ]


def _label(star: _Star, path: Path, labels: Mapping[str, int]) -> int:
    own = {label_of(word) for word in star.words}
    if None in own or len(own - {UNKNOWN}) > 1:
        raise UnreadableError(
            f"star {star.name!r} is labelled {', '.join(map(repr, star.words))}; use one of 1 (planet) and "
            "0 (none)"
        )
    known = own - {UNKNOWN}
    return known.pop() or 0 if known else star_label(star.name, path, labels)


def _stars(path: Path) -> tuple[Iterator[_Star], list[tuple[int, str]]]:
    with refusing(path, "a table"):
        table, rejected = _table(path)
    names = (
        star_names(table["star"].to_numpy()) if "star" in table.columns else np.full(len(table), path.stem)
    )
    found, code = np.unique(names, return_inverse=True)
    order = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[order], np.arange(len(found) + 1))
    time, flux, row = (table[name].to_numpy() for name in ("time", "flux", "row"))
    words = table["label"].to_numpy() if "label" in table.columns else np.full(len(table), "")

    def walk() -> Iterator[_Star]:
        for k, name in enumerate(found.tolist()):
            rows = order[bounds[k] : bounds[k + 1]]
            labels = tuple(sorted({str(word or "") for word in words[rows]}))
            yield _Star(name, labels, int(row[rows].min()), time[rows], flux[rows])

    return walk(), rejected


def _table(path: Path) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    """Columns row, time, flux, and star and label where there are any; and the rows that hold no numbers."""
    import polars as pl

    with path.open("rb") as file:
        parquet = file.read(4) == b"PAR1"
    raw = parquet_table(path) if parquet else _text_table(path)
    roles = roles_of([name.strip() for name in raw.columns])
    wanted = {"time": roles.time, "flux": roles.flux, "star": roles.star, "label": roles.label}
    table = raw.select(**{role: raw.columns[k] for role, k in wanted.items() if k is not None})
    if not {"time", "flux"} <= set(table.columns):
        raise UnreadableError(f"{path}: it has the columns {raw.columns}; a long table needs time and flux")
    texts = [name for name in ("star", "label") if name in table.columns]
    table = table.with_columns(pl.col(texts).cast(pl.String).str.strip_chars())
    return _numbers(table.with_row_index("row", 0 if parquet else 2))


def _text_table(path: Path) -> pl.DataFrame:
    import polars as pl

    _, delimiter = header(path)
    return pl.read_csv(
        path, separator=delimiter, infer_schema=False, truncate_ragged_lines=True, encoding="utf8-lossy"
    )


def _numbers(table: pl.DataFrame) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
    """Time and flux as float64, without the rows whose cells are no numbers, or that have no time or star."""
    import polars as pl

    def number(name: str) -> pl.Expr:
        cell = pl.col(name)
        text = table[name].dtype == pl.String
        return (
            (cell.str.strip_chars() if text else cell).cast(pl.Float64, strict=False).alias(f"{name}_number")
        )

    numbers = table.with_columns(number("time"), number("flux"))
    bad = ~pl.col("time_number").is_finite().fill_null(False)
    if table["flux"].dtype == pl.String:  # elsewhere a null is a gap
        word = pl.col("flux").fill_null("").str.strip_chars().str.to_lowercase()
        bad = bad | (pl.col("flux_number").is_null() & ~word.is_in(_MISSING))
    if "star" in table.columns:
        bad = bad | (pl.col("star").fill_null("") == "")
    rejected = [
        (row, f"time {time!r} and flux {flux!r} are no measurement of a named star")
        for row, time, flux in numbers.filter(bad).select("row", "time", "flux").iter_rows()
    ]
    kept = numbers.filter(~bad).drop("time", "flux")
    return kept.rename({"time_number": "time", "flux_number": "flux"}).fill_null(float("nan")), rejected
