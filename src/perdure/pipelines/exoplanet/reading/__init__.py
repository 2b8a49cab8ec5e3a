"""Readers of light curves, one layout each; `read` chooses by the layout that `discovery` found in the
content.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perdure.pipelines.exoplanet.curves import LENGTH
from perdure.pipelines.exoplanet.reading import columns
from perdure.pipelines.exoplanet.reading.arrays import read_npy, read_npz
from perdure.pipelines.exoplanet.reading.fits import read_fits, read_fits_series
from perdure.pipelines.exoplanet.reading.long import read_long, read_long_series
from perdure.pipelines.exoplanet.reading.result import Reading, Series, UnreadableError
from perdure.pipelines.exoplanet.reading.wide import read_kaggle_csv, read_wide_csv, read_wide_parquet

__all__ = ["Reading", "Series", "UnreadableError", "read", "read_labels", "read_series"]

_ALONE = {columns.KAGGLE_CSV: read_kaggle_csv, columns.NPY: read_npy, columns.NPZ: read_npz}
_LABELLED = {
    columns.WIDE_CSV: read_wide_csv,
    columns.WIDE_PARQUET: read_wide_parquet,
    columns.LONG_CSV: read_long,
    columns.LONG_PARQUET: read_long,
    columns.FITS: read_fits,
}


def read(
    path: Path, layout: str, *, length: int = LENGTH, labels: Mapping[str, int] | None = None
) -> Reading:
    """The curves of one file, and what in it was rejected and why.

    layout: as in the manifest of `discover`. labels: of stars, where files do not say (see `read_labels`).
    Raises UnreadableError when nothing of the file can be read; it then counts as quarantined as a whole.
    """
    if layout in _ALONE:
        return _ALONE[layout](path, length=length)
    if layout in _LABELLED:
        return _LABELLED[layout](path, length=length, labels=labels or {})
    known = ", ".join(sorted([*_ALONE, *_LABELLED]))
    raise UnreadableError(f"{path}: no reader for the layout {layout!r}; there are {known}")


def read_series(path: Path, layout: str) -> list[Series]:
    """The series of a file with their times, uncut, for dips and figures; only FITS and long tables have times."""
    if layout == columns.FITS:
        return [read_fits_series(path)]
    if layout in (columns.LONG_CSV, columns.LONG_PARQUET):
        return read_long_series(path)
    raise UnreadableError(f"{path}: a file of the layout {layout!r} has no times")


def read_labels(path: Path, layout: str) -> dict[str, int]:
    """Label by star of a table with a star column and a label column; see `columns.read_label_table`."""
    return columns.read_label_table(path, parquet=layout == columns.LABELS_PARQUET)
