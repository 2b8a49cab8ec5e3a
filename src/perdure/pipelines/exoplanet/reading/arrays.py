"""NumPy files: a matrix of curves (.npy) or several named arrays (.npz), never with pickled objects."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from perdure.pipelines.exoplanet.curves import LENGTH, UNKNOWN
from perdure.pipelines.exoplanet.reading.columns import folder_label, label_of
from perdure.pipelines.exoplanet.reading.result import Reading, UnreadableError, refusing
from perdure.pipelines.exoplanet.reading.rules import join, to_curves

PARTS = ("train", "val", "test")  # in the order of the numbers in the column `part`
_CURVES = ("x", "flux", "curves")
_LABELS = ("y", "label", "labels")
_STARS = ("star", "star_id", "stars", "id", "ids")


def read_npy(path: Path, *, length: int = LENGTH) -> Reading:
    """One matrix (n, m) of curves; the label is that of the file's folder."""
    with refusing(path, "a NumPy file"), _no_pickle(path):
        flux = np.load(path, mmap_mode="r", allow_pickle=False)
    label = np.full(len(flux) if flux.ndim else 0, folder_label(path))
    return _curves(path, "array", flux, label, None, None, length)


def read_npz(path: Path, *, length: int = LENGTH) -> Reading:
    """Arrays X_train, X_val, X_test with y_train, y_val, y_test, or one pair X (or flux) and y (or label).

    In the first case the column `part` keeps the split: 0 training, 1 validation, 2 test. `split` checks it
    for leaks.
    """
    with refusing(path, "a NumPy file"), _no_pickle(path), np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    lower = {name.lower(): array for name, array in arrays.items()}
    readings = [
        _curves(path, f"x_{part}", lower[f"x_{part}"], lower.get(f"y_{part}"), None, number, length)
        for number, part in enumerate(PARTS)
        if f"x_{part}" in lower
    ]
    whole = _first(lower, _CURVES)
    if not readings and whole is not None:
        readings = [_curves(path, "x", whole, _first(lower, _LABELS), _first(lower, _STARS), None, length)]
    if not readings:
        raise UnreadableError(
            f"{path}: it holds {', '.join(sorted(arrays)) or 'nothing'}; perdure reads X_train, y_train "
            "and so on, or X (or flux) with y (or label) and, if there is one, star"
        )
    return join(readings, [], length=length)


def _first(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[name] for name in names if name in arrays), None)


def _curves(
    path: Path,
    name: str,
    flux: np.ndarray,
    label: np.ndarray | None,
    star: np.ndarray | None,
    part: int | None,
    length: int,
) -> Reading:
    if flux.ndim == 3 and flux.shape[2] == 1:  # as convolutions want it
        flux = flux[:, :, 0]
    if flux.ndim != 2 or flux.dtype.kind not in "fiu" or not flux.shape[1]:
        raise UnreadableError(
            f"{path}: {name} has the shape {flux.shape} and the type {flux.dtype}; curves are numbers of "
            "shape (n, cadences)"
        )
    rows = len(flux)
    label = np.full(rows, UNKNOWN) if label is None else label.reshape(-1)
    if len(label) != rows or (star is not None and len(star) != rows):
        raise UnreadableError(
            f"{path}: {name} has {rows} curves, but {len(label)} labels or other numbers of stars"
        )
    known = {value: label_of(str(value)) for value in np.unique(label).tolist()}
    if None in known.values():
        raise UnreadableError(f"{path}: the labels of {name} are {sorted(known)}; 1 is a planet and 0 none")
    prefix = f"{path.stem}:" if part is None else f"{path.stem}:{PARTS[part]}:"
    stars = np.array([f"{prefix}{row}" for row in range(rows)]) if star is None else star.astype(str)
    columns = {} if part is None else {"part": np.full(rows, part, np.int8)}
    return to_curves(
        np.array(flux, np.float32),
        stars,
        np.array([known[value] for value in label.tolist()], np.int8),
        row=np.arange(rows),
        length=length,
        columns=columns,
    )


@contextmanager
def _no_pickle(path: Path) -> Iterator[None]:
    """NumPy refuses pickled objects with a hint how to load them all the same, which nobody should follow."""
    try:
        yield
    except ValueError as error:
        if "pickle" not in str(error).lower():
            raise
        raise UnreadableError(
            f"{path}: it holds pickled Python objects, which perdure never loads because they can run code; "
            "save plain numbers instead (for instance `array.astype('float32')`)"
        ) from error
