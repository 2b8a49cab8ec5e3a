"""What a table's columns mean, and what a label says: the names and words that perdure understands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from perdure.pipelines.exoplanet.curves import UNKNOWN
from perdure.pipelines.exoplanet.reading.result import UnreadableError, refusing

if TYPE_CHECKING:
    import polars as pl

STAR = ("star_id", "star", "kepid", "kic", "ticid", "tic_id", "tic", "epic", "target", "object_id", "id")
LABEL = ("label", "class", "target_class", "koi_disposition", "disposition", "y")
TIME = ("time", "bjd", "bkjd", "btjd", "hjd", "mjd", "jd", "t")
FLUX = ("pdcsap_flux", "flux", "sap_flux", "f")  # the corrected flux first

_FLUX_POINT = re.compile(r"(flux|f|x|t|point|column)?[._ ]?\d+", re.IGNORECASE)
_PLANET = frozenset(("1", "1.0", "planet", "planets", "true", "yes", "confirmed", "exoplanet", "pc"))
_NONE = frozenset(("0", "0.0", "none", "no_planet", "no-planet", "noplanet", "false", "no", "false positive"))
_NONE_TOO = frozenset(("fp", "afp", "ntp", "negative", "negatives", "non_planet", "nonplanet"))
_UNKNOWN = frozenset(("", "-1", "-1.0", "unknown", "nan", "null", "na", "n/a", "candidate"))
_KAGGLE = {"1": 0, "1.0": 0, "2": 1, "2.0": 1}

KAGGLE_CSV, WIDE_CSV, LONG_CSV, LABELS_CSV = "kaggle-csv", "wide-csv", "long-csv", "labels-csv"
WIDE_PARQUET, LONG_PARQUET, LABELS_PARQUET = "wide-parquet", "long-parquet", "labels-parquet"
FITS, NPZ, NPY = "light-curve-fits", "npz", "npy"


@dataclass(frozen=True, slots=True)
class Roles:
    """The positions of a table's columns: each None, or empty, where the table has no such column."""

    star: int | None
    label: int | None
    time: int | None
    flux: int | None
    points: tuple[int, ...]  # of a wide table: its flux columns in order


def roles_of(names: Sequence[str]) -> Roles:
    """What each column of a table means, by name; upper and lower case are the same."""
    points = tuple(k for k, name in enumerate(names) if _FLUX_POINT.fullmatch(name))
    return Roles(_find(names, STAR), _find(names, LABEL), _find(names, TIME), _find(names, FLUX), points)


def table_layout(names: Sequence[str], *, parquet: bool = False) -> str | None:
    """The layout of a table with these columns, or None where they fit no layout."""
    roles = roles_of(names)
    if len(roles.points) >= 2:
        if parquet:
            return WIDE_PARQUET
        kaggle = names[0] == "LABEL" and all(name.startswith("FLUX.") for name in names[1:])
        return KAGGLE_CSV if kaggle else WIDE_CSV
    if roles.time is not None and roles.flux is not None:
        return LONG_PARQUET if parquet else LONG_CSV
    if roles.star is not None and roles.label is not None:
        return LABELS_PARQUET if parquet else LABELS_CSV
    return None


def label_of(word: str) -> int | None:
    """1, 0 or -1 (unknown) for a label as people write it; None for a word that perdure does not know."""
    known = word.strip().lower()
    if known in _PLANET:
        return 1
    if known in _NONE or known in _NONE_TOO:
        return 0
    return UNKNOWN if known in _UNKNOWN else None


def kaggle_label(word: str) -> int | None:
    """1 is a star without a planet, 2 one with; None for anything else."""
    return _KAGGLE.get(word)


def folder_label(path: Path) -> int:
    """The label that the name of the file's folder gives (`planet/`, `none/`), else -1."""
    word = path.parent.name.lower()
    if word in ("0", "1", ""):  # too likely to mean something else
        return UNKNOWN
    label = label_of(word)
    return UNKNOWN if label is None else label


def star_label(star: str, path: Path, labels: Mapping[str, int]) -> int:
    """The label of a star: from the table of labels if it is listed there, else from the file's folder.

    A table may leave out the catalogue's name: "11442793" stands for "KIC 11442793" too.
    """
    for name in (star, star.rpartition(" ")[2]):
        if name in labels:
            return labels[name]
    return folder_label(path)


def star_names(values: np.ndarray) -> np.ndarray:
    """Identifiers as text; 11442793.0, as tables with gaps hold integers, becomes "11442793"."""
    if values.dtype.kind == "f" and np.all(values == np.floor(values)):
        values = values.astype(np.int64)
    return values.astype(str)


def _find(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    lower = [name.lower() for name in names]
    return next((lower.index(name) for name in wanted if name in lower), None)


def parquet_table(path: Path) -> pl.DataFrame:
    """A Parquet file as a table. pyarrow reads and checks it, for polars panics on damaged ones.

    What a damaged file's metadata says goes no further: only names and columns do.
    """
    import polars as pl
    import pyarrow as pa
    from pyarrow import parquet

    with refusing(path, "Parquet"):
        table = parquet.ParquetFile(path).read(use_threads=False)
        table.validate(full=True)
        plain = pa.table(dict(zip(table.column_names, table.columns, strict=True)))
        return cast("pl.DataFrame", pl.from_arrow(plain))


def read_label_table(path: Path, *, parquet: bool) -> dict[str, int]:
    """Label by star of a table of labels; a star labelled in two ways, or not clearly, is an UnreadableError."""
    import polars as pl

    with refusing(path, "a table"):
        table = parquet_table(path) if parquet else pl.read_csv(path, infer_schema=False)
    roles = roles_of([name.strip() for name in table.columns])
    if roles.star is None or roles.label is None:
        raise UnreadableError(f"{path}: a table of labels needs a star column and a label column")
    labels: dict[str, int] = {}
    stars = star_names(table.to_series(roles.star).cast(pl.String).fill_null("").to_numpy())
    for star, word in zip(stars.tolist(), table.to_series(roles.label).to_list(), strict=True):
        label = label_of("" if word is None else str(word))
        if label is None or labels.get(star, label) != label:
            raise UnreadableError(
                f"{path}: star {star!r} has the label {word!r}, which is not known or contradicts another "
                "row; use 1 or planet, 0 or none"
            )
        labels[star] = label
    return labels
