"""Wide tables, a curve per row: the Kaggle CSV files, and CSV or Parquet with columns of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from perdure.pipelines.exoplanet.curves import LENGTH, UNKNOWN
from perdure.pipelines.exoplanet.reading.columns import (
    folder_label,
    kaggle_label,
    label_of,
    roles_of,
    star_label,
    star_names,
)
from perdure.pipelines.exoplanet.reading.result import Reading, refusing
from perdure.pipelines.exoplanet.reading.rules import to_curves
from perdure.pipelines.exoplanet.reading.text import SKIP, Table, header, read_table, text_role

_NO_LABELS: Mapping[str, int] = {}


def read_kaggle_csv(path: Path, *, length: int = LENGTH) -> Reading:
    """`LABEL` (1 none, 2 planet), `FLUX.1` to `FLUX.n`; these files name no star: it is "<file stem>:<line>"."""
    names, delimiter = header(path)
    roles = np.arange(-1, len(names) - 1, dtype=np.int32)
    roles[0] = text_role(0)
    table = read_table(path, roles, delimiter=delimiter)
    labels = [kaggle_label(word) for word in table.texts[0]]
    hint = "LABEL is 1 (no planet) or 2 (planet); for other labels, name the column `label`"
    return _judged(path, table, None, table.texts[0], labels, hint, length)


def read_wide_csv(path: Path, *, length: int = LENGTH, labels: Mapping[str, int] = _NO_LABELS) -> Reading:
    """A table with numbered flux columns, and where it has them, a star column and a label column."""
    names, delimiter = header(path)
    roles = roles_of(names)
    columns = np.full(len(names), SKIP, np.int32)
    columns[list(roles.points)] = np.arange(len(roles.points))
    texts = [k for k in (roles.star, roles.label) if k is not None]
    for position, column in enumerate(texts):
        columns[column] = text_role(position)
    table = read_table(path, columns, delimiter=delimiter)
    stars = table.texts[0] if roles.star is not None else None
    words = table.texts[-1] if roles.label is not None else None
    known = _known(path, words, stars, len(table.line), labels)
    return _judged(path, table, stars, words, known, _HINT, length)


def read_wide_parquet(path: Path, *, length: int = LENGTH, labels: Mapping[str, int] = _NO_LABELS) -> Reading:
    """As `read_wide_csv`; nulls are missing measurements."""
    import pyarrow as pa
    from pyarrow import parquet

    with refusing(path, "Parquet"):
        file = parquet.ParquetFile(path)
        roles = roles_of(file.schema_arrow.names)
        table = file.read(use_threads=False)
        flux = np.empty((table.num_rows, len(roles.points)), np.float32)
        for column, position in enumerate(roles.points):
            flux[:, column] = table.column(position).cast(pa.float32(), safe=False).to_numpy()
        stars = words = None
        if roles.star is not None:
            stars = star_names(table.column(roles.star).to_numpy()).tolist()
        if roles.label is not None:
            cells = table.column(roles.label).to_pylist()
            words = ["" if value is None else str(value) for value in cells]
    known = _known(path, words, stars, len(flux), labels)
    return _judged(path, Table(flux, [], np.arange(len(flux)), []), stars, words, known, _HINT, length)


_HINT = "use 1 or planet, 0 or none, and an empty cell for unknown"


def _known(
    path: Path, words: list[str] | None, stars: list[str] | None, rows: int, labels: Mapping[str, int]
) -> list[int | None]:
    """A label per row: its own, else its star's, else its folder's; None where its own is no label."""
    own = [UNKNOWN] * rows if words is None else [label_of(word) for word in words]
    if stars is None:
        return [folder_label(path) if label == UNKNOWN else label for label in own]
    return [
        star_label(star, path, labels) if label == UNKNOWN else label
        for label, star in zip(own, stars, strict=True)
    ]


def _judged(
    path: Path,
    table: Table,
    stars: list[str] | None,
    words: list[str] | None,
    labels: list[int | None],
    hint: str,
    length: int,
) -> Reading:
    """Reject rows without a sound label or star, then let the rules judge the flux."""
    flux, line = table.numbers, table.line
    faults = {}
    for k, label in enumerate(labels):
        if label is None:
            faults[k] = f"its label {words[k] if words else ''!r} is not known: {hint}"
        elif stars is not None and not stars[k]:
            faults[k] = "its star has no name"
    star = np.array(
        stars if stars is not None else [f"{path.stem}:{row}" for row in line.tolist()], dtype=str
    )
    known = np.array([UNKNOWN if value is None else value for value in labels], np.int8)
    refused = [(int(line[k]), reason) for k, reason in faults.items()]
    if faults:
        good = np.array([k not in faults for k in range(len(flux))], bool)
        flux, star, known, line = flux[good], star[good], known[good], line[good]
    reading = to_curves(flux, star, known, row=line, length=length)
    return Reading(reading.curves, tuple(sorted([*table.rejected, *refused, *reading.rejected])))
