"""Phase 1: which files of a folder hold light curves, known by their content and not by their names."""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.ma  # numba asks for it in our threads; its lazy import recurses when two ask at once

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.reading import columns
from perdure.pipelines.exoplanet.reading.result import UnreadableError, refusing
from perdure.pipelines.exoplanet.reading.text import header

SUPPORTED = (
    "CSV tables (Kaggle's LABEL, FLUX.1...; numbered flux columns; or time, flux and star_id), the same "
    "as Parquet, light-curve FITS files of Kepler, K2 and TESS, and .npz or .npy files without pickled "
    "objects"
)
_PACKED = {
    b"\x1f\x8b": "gzip-compressed",
    b"BZh": "bzip2-compressed",
    b"\xfd7zXZ": "xz-compressed",
    b"\x28\xb5\x2f\xfd": "zstd-compressed",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a rar archive",
}
_TABLES_OF_LABELS = (columns.LABELS_CSV, columns.LABELS_PARQUET)
_FITS_UNIT = 2880  # bytes; a FITS file is made of whole ones


def discover(place: Path, *, threads: int = 2) -> list[dict[str, Any]]:
    """The manifest of a folder, or of one file: a JSON-ready entry per file, in the order of their paths.

    path:   relative to the folder, with forward slashes; size: bytes.
    layout: what `reading.read` takes, a table of labels for `reading.read_labels`, or None for a refused one.
    reason: why it was refused, else None.
    sha256: hexadecimal; rows: curves, or measurements of a long table; labels: curves by label "0", "1" and
            "-1" (unknown) as far as the file itself tells. None, 0 and {} for a refused file.
    Hidden files are passed over and links to folders are not followed. Raises UsageError when nothing can be
    used.
    """
    if not place.exists():
        raise UsageError(
            f"there is no file or folder {place}; give --data an existing one, or leave it out to simulate"
        )
    root = place if place.is_dir() else place.parent
    paths = sorted(_files(place), key=lambda path: path.relative_to(root).as_posix())
    with ThreadPoolExecutor(threads) as pool:
        manifest = list(pool.map(lambda path: _entry(path, root), paths))
    if not with_curves(manifest):
        raise UsageError(_nothing(place, manifest))
    return manifest


def with_curves(manifest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries that hold light curves: not the tables of labels, nor the refused files."""
    return [entry for entry in manifest if entry["layout"] not in (None, *_TABLES_OF_LABELS)]


def _files(place: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    for folder, folders, names in os.walk(place):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            path for name in names if not name.startswith(".") and (path := Path(folder, name)).is_file()
        )


def _nothing(place: Path, manifest: list[dict[str, Any]]) -> str:
    refused = [f"  {entry['path']}: {entry['reason']}" for entry in manifest if entry["reason"]][:5]
    looked_at = f" (files looked at: {len(manifest)})" if manifest else ", nor any other file"
    return "\n".join([f"{place} holds no light curves{looked_at}; perdure reads {SUPPORTED}", *refused])


def _entry(path: Path, root: Path) -> dict[str, Any]:
    name = path.relative_to(root).as_posix()
    entry: dict[str, Any] = {"path": name, "size": 0, "layout": None, "reason": None, "sha256": None}
    entry |= {"rows": 0, "labels": {}}
    try:
        entry["size"] = path.stat().st_size
        layout = sniff(path)
        rows, labels = _counts(path, layout)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except UnreadableError as error:
        return entry | {"reason": str(error).removeprefix(f"{path}: ")}
    except OSError as error:
        return entry | {"reason": f"it cannot be read: {error.strerror}"}
    return entry | {"layout": layout, "sha256": digest, "rows": rows, "labels": labels}


def sniff(path: Path) -> str:
    """The layout of a file by its content; an UnreadableError says why it is none that perdure reads."""
    with path.open("rb") as file:
        start = file.read(_FITS_UNIT)
    if not start:
        raise UnreadableError(f"{path}: the file is empty")
    for magic, kind in _PACKED.items():
        if start.startswith(magic):
            raise UnreadableError(f"{path}: it is {kind}; unpack it first")
    if start.startswith(b"SIMPLE  ="):
        return columns.FITS
    if start.startswith(b"PAR1"):
        with refusing(path, "Parquet"):
            return _table(path, _parquet(path).schema_arrow.names, parquet=True)
    if start.startswith(b"\x93NUMPY"):
        return columns.NPY
    if start.startswith(b"PK"):
        return _zip(path)
    if b"\0" in start:
        raise UnreadableError(f"{path}: its content is of no kind that perdure knows")
    return _table(path, header(path)[0], parquet=False)


def _table(path: Path, names: list[str], *, parquet: bool) -> str:
    layout = columns.table_layout(names, parquet=parquet)
    if layout is None:
        shown = ", ".join(names[:5])[:100] + (", ..." if len(names) > 5 else "")
        raise UnreadableError(f"{path}: its columns ({shown}) are those of no layout that perdure knows")
    return layout


def _parquet(path: Path) -> Any:
    from pyarrow import parquet

    with refusing(path, "Parquet"):
        return parquet.ParquetFile(path)


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UnreadableError(f"{path}: it is a damaged zip archive or .npz file: {error}") from error
    if not names or not all(name.endswith(".npy") for name in names):
        raise UnreadableError(f"{path}: it is a zip archive; unpack it first")
    return columns.NPZ


def _counts(path: Path, layout: str) -> tuple[int, dict[str, int]]:
    """Rows, and curves by label as far as the file tells at the price of one look at it."""
    if layout in (columns.KAGGLE_CSV, columns.WIDE_CSV):
        return _wide_csv_counts(path, kaggle=layout == columns.KAGGLE_CSV)
    if layout in (columns.LONG_CSV, columns.LABELS_CSV):
        return _lines(path) - 1, {}
    if layout in (columns.WIDE_PARQUET, columns.LONG_PARQUET, columns.LABELS_PARQUET):
        return _parquet_counts(path, wide=layout == columns.WIDE_PARQUET)
    if layout == columns.FITS:
        return 1, {str(columns.folder_label(path)): 1}
    if layout == columns.NPZ:
        return _npz_counts(path)
    rows = _npy_shape(path.open("rb"), path)[0]
    return rows, {str(columns.folder_label(path)): rows}


def _lines(path: Path) -> int:
    total, last = 0, b"\n"
    with path.open("rb") as file:
        while chunk := file.read(1 << 22):
            total += chunk.count(b"\n")
            last = chunk
    return total + (not last.endswith(b"\n"))


def _wide_csv_counts(path: Path, *, kaggle: bool) -> tuple[int, dict[str, int]]:
    """Reads only a line's end and, when the label stands in one of the first columns, its first cells."""
    names, delimiter = header(path)
    place = columns.roles_of(names).label
    cheap = place is not None and place < 8
    splitter = delimiter.encode()
    counts: Counter[str] = Counter()
    rows = 0
    with path.open("rb", buffering=1 << 20) as file:
        file.readline()
        for line in file:
            if line.isspace():
                continue
            rows += 1
            if cheap and place is not None:
                cell = line[:512].split(splitter, place + 1)[place : place + 1]
                word = b"".join(cell).strip().strip(b'"').decode("utf-8", "replace")
                label = columns.kaggle_label(word) if kaggle else columns.label_of(word)
                if label is not None:
                    counts[str(label)] += 1
    return rows, dict(sorted(counts.items()))


def _parquet_counts(path: Path, *, wide: bool) -> tuple[int, dict[str, int]]:
    file = _parquet(path)
    rows = int(file.metadata.num_rows)
    with refusing(path, "Parquet"):
        names = file.schema_arrow.names
        label = columns.roles_of(names).label
        if not wide or label is None:
            return rows, {}
        words = file.read(columns=[names[label]]).column(0).to_pylist()
    labels = [columns.label_of("" if word is None else str(word)) for word in words]
    return rows, _by_label(labels)


def _npz_counts(path: Path) -> tuple[int, dict[str, int]]:
    rows = 0
    labels: list[Any] = []
    with refusing(path, "a NumPy file"), zipfile.ZipFile(path) as archive:
        for member in sorted(archive.namelist()):
            name = member.removesuffix(".npy").lower()
            with archive.open(member) as file:
                if name.startswith("x_") or name in ("x", "flux", "curves"):
                    rows += _npy_shape(file, path)[0]
                elif name.startswith("y_") or name in ("y", "label", "labels"):
                    labels += np.lib.format.read_array(file, allow_pickle=False).reshape(-1).tolist()
    return rows, _by_label([columns.label_of(str(value)) for value in labels])


def _npy_shape(file: Any, path: Path) -> tuple[int, ...]:
    with file, refusing(path, "a NumPy file"):
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        if kind.hasobject:
            raise UnreadableError(f"{path}: it holds pickled Python objects, which perdure never loads")
        return shape if shape else (0,)


def _by_label(labels: list[int | None]) -> dict[str, int]:
    return dict(sorted(Counter(str(label) for label in labels if label is not None).items()))
