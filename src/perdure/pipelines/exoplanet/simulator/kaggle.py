"""Simulated curves as files in the layout of Kaggle's "Exoplanet Hunting in Deep Space"."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numba
import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import LENGTH, Curves
from perdure.pipelines.exoplanet.simulator.batch import simulate
from perdure.pipelines.exoplanet.simulator.star import electrons_per_second

_CHUNK = 512  # curves formatted at a time
_GAIN = 0.3  # brings values, and so the files' size (629 MB for 32,384 curves), to those of the original
_WIDEST = 16  # bytes of one value with its separator, at most


def export_kaggle(
    directory: Path,
    *,
    seed: int,
    curves: int,
    planet_share: float,
    files: int = 16,
    difficulty: str = "medium",
    length: int = LENGTH,
) -> list[Path]:
    """Write `curves` simulated stars into `files` CSV files and return their paths, in order.

    Header `LABEL,FLUX.1,...,FLUX.n`; labels 2 (planet) and 1 (none); flux in electrons a second around
    the curve's median, with two decimals; gaps interpolated, as in the original, which has no missing values.
    A file appears under its name only when it is complete. Full size: 32,384 curves in 16 files.
    Raises UsageError for more files than curves.
    """
    if not 1 <= files <= curves:
        raise UsageError(f"{files} files for {curves} curves; give at least one curve a file")
    directory.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, curves, files + 1).astype(int).tolist()
    paths = []
    for number, (start, stop) in enumerate(pairwise(edges), start=1):
        path = directory / f"curves-{number:02d}.csv"
        with _Published(path) as out:
            out.write(_header(length))
            for first in range(start, stop, _CHUNK):
                stars = range(first, min(first + _CHUNK, stop))
                part = simulate(seed, stars, planet_share=planet_share, difficulty=difficulty, length=length)
                out.write(_rows(part))
        paths.append(path)
    return paths


class _Published:
    """A file that is written beside its place and renamed into it once it is whole and on disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_name(f".{path.name}.{os.getpid()}.part")

    def __enter__(self) -> _Published:
        self._out = self._aside.open("wb")
        return self

    def write(self, content: bytes) -> None:
        self._out.write(content)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._out.flush()
            os.fsync(self._out.fileno())
        self._out.close()
        if kind is None:
            self._aside.replace(self._path)
        else:
            self._aside.unlink()


def _header(length: int) -> bytes:
    return ",".join(["LABEL", *(f"FLUX.{i}" for i in range(1, length + 1))]).encode() + b"\n"


def _rows(curves: Curves) -> bytes:
    hundredths = np.empty(curves.flux.shape, dtype=np.int64)
    for row, flux in enumerate(curves.flux):
        filled = _interpolated(flux.astype(np.float64))
        level = _GAIN * electrons_per_second(float(curves.columns["kp"][row]))
        hundredths[row] = np.rint((filled - np.median(filled)) * level * 100)
    buffer = np.empty(hundredths.size * _WIDEST, dtype=np.uint8)
    return buffer[: _format(hundredths, curves.label.astype(np.int64) + 1, buffer)].tobytes()


def _interpolated(flux: np.ndarray) -> np.ndarray:
    seen = np.isfinite(flux)
    place = np.arange(flux.size)
    return np.interp(place, place[seen], flux[seen])


@numba.njit(cache=True)
def _format(hundredths: np.ndarray, labels: np.ndarray, out: np.ndarray) -> int:
    """Write rows `label,v.vv,...` as ASCII and return the number of bytes."""
    digits = np.empty(24, dtype=np.uint8)
    at = 0
    for row in range(hundredths.shape[0]):
        out[at] = 48 + labels[row]
        at += 1
        for column in range(hundredths.shape[1]):
            value = hundredths[row, column]
            out[at] = 44  # ,
            at += 1
            if value < 0:
                out[at] = 45  # -
                at += 1
                value = -value
            count = 0
            while value > 0 or count < 3:
                digits[count] = 48 + value % 10
                value //= 10
                count += 1
            for k in range(count - 1, -1, -1):
                if k == 1:
                    out[at] = 46  # .
                    at += 1
                out[at] = digits[k]
                at += 1
        out[at] = 10
        at += 1
    return at
