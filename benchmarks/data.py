"""Prepared data, reading CSV, and detrending, beside the usual tools."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.table import RESULTS, Goal, Line, median, seconds, show

_ROWS, _LENGTH = 32_384, 3_197  # 414 MB of float32
_BATCH = 64
_CSV_FILES, _CSV_ROWS = 2, 2_024  # measured; the goal is for sixteen such files, 629 MB
_CSV_GOAL = 4.0 * _CSV_FILES / 16
_DETREND_ROWS = 2_048
_DETREND_GOAL = 4.0 * _DETREND_ROWS / _ROWS


def run() -> None:
    RESULTS.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=RESULTS, prefix="data-")).absolute()
    try:
        _prepared(folder)
        _csv(folder)
        _detrend()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _curves(rows: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, _LENGTH), np.float32)


# -- prepared data -----------------------------------------------------------------------------------------------


def _prepared(folder: Path) -> None:
    """Write it once, open it again (perdure: rerun the step), take one batch, pass over it in shuffled batches."""
    curves = _curves(_ROWS)
    order = np.random.default_rng(1).permutation(_ROWS)
    results: dict[str, dict[str, list[float]]] = {}
    for number in range(3):
        ways = {
            "write + fsync, memory map": _npy(folder / f"{number}.npy", curves),
            "perdure step": _step(folder / f"run-{number}", curves),
        }
        if number == 0:  # twenty seconds
            ways["np.savez_compressed"] = _npz(folder / "curves.npz", curves)
        for name, way in ways.items():
            for column, value in _course(way, order).items():
                results.setdefault(name, {}).setdefault(column, []).append(value)
    _report_prepared(results)


@dataclass(frozen=True, slots=True)
class Way:
    """A way to keep prepared data: `write` it, and `reopen` it as rows that can be indexed."""

    write: Callable[[], object]
    reopen: Callable[[], np.ndarray]


def _course(way: Way, order: np.ndarray) -> dict[str, float]:
    taken = {"write s": seconds(way.write)}
    began = time.perf_counter()
    rows = way.reopen()
    taken["reopen s"] = time.perf_counter() - began
    taken["first batch s"] = seconds(partial(np.array, rows[:_BATCH]))
    taken["shuffled pass s"] = seconds(partial(_pass_over, rows, order))
    return taken


def _pass_over(rows: np.ndarray, order: np.ndarray) -> None:
    for first in range(0, len(order), _BATCH):
        np.array(rows[order[first : first + _BATCH]])


def _npy(path: Path, curves: np.ndarray) -> Way:
    def write() -> None:
        with path.open("wb") as stream:
            np.save(stream, curves)
            stream.flush()
            os.fsync(stream.fileno())

    return Way(write, lambda: np.load(path, mmap_mode="r"))


def _npz(path: Path, curves: np.ndarray) -> Way:
    return Way(lambda: np.savez_compressed(path, curves=curves), lambda: np.load(path)["curves"])


def _step(folder: Path, curves: np.ndarray) -> Way:
    """The result of a step, which a rerun opens after it has verified its digest. Both open the run, too."""
    import perdure

    def rows() -> np.ndarray:
        with perdure.open(folder) as run:
            result: np.ndarray = run.step("prepare", lambda: curves, version="1")
        return result

    return Way(rows, rows)


def _report_prepared(results: dict[str, dict[str, list[float]]]) -> None:
    floor = median(results["write + fsync, memory map"]["write s"])
    lines = []
    for name, taken in results.items():
        values = {column: median(samples) for column, samples in taken.items()}
        goals = {"write s": Goal(1.2 * floor), "first batch s": Goal(0.005)} if name == "perdure step" else {}
        lines.append(Line(name, {**values, "x write": values["write s"] / floor}, goals))
    columns = ["write s", "x write", "reopen s", "first batch s", "shuffled pass s"]
    show(f"Prepared data: {_ROWS} x {_LENGTH} float32, median of 3 (npz: 1)", columns, lines)


# -- CSV ---------------------------------------------------------------------------------------------------------


def _csv(folder: Path) -> None:
    """Files as Kaggle has them: LABEL, FLUX.1 to FLUX.3197, two decimals."""
    import polars as pl
    import pyarrow as pa
    from pyarrow import csv

    from perdure.pipelines.exoplanet.reading import read
    from perdure.pipelines.exoplanet.reading.columns import KAGGLE_CSV

    names = ["LABEL", *(f"FLUX.{n}" for n in range(1, _LENGTH + 1))]
    paths = [folder / f"curves-{n}.csv" for n in range(_CSV_FILES)]
    for path in paths:
        _write_csv(path, names)
    floats = dict.fromkeys(names[1:], pl.Float32)
    arrow = csv.ConvertOptions(column_types={name: pa.float32() for name in names[1:]})
    _compare(
        f"CSV: {sum(p.stat().st_size for p in paths) / 1e6:.0f} MB in {_CSV_FILES} files, median of 5, seconds",
        {
            "the bytes alone": lambda: [path.read_bytes() for path in paths],
            "polars, float32 schema": lambda: [pl.read_csv(path, schema_overrides=floats) for path in paths],
            "pyarrow, float32 schema": lambda: [csv.read_csv(path, convert_options=arrow) for path in paths],
            "perdure, with validation": lambda: [read(path, KAGGLE_CSV) for path in paths],
        },
        floor="the bytes alone", ours="perdure, with validation", goal=Goal(_CSV_GOAL),
    )  # fmt: skip


def _write_csv(path: Path, names: list[str]) -> None:
    import polars as pl

    flux = (1000 * _curves(_CSV_ROWS)).astype(np.float64).round(2)
    table = pl.DataFrame(flux, schema=names[1:])
    table.insert_column(0, pl.Series("LABEL", np.where(np.arange(_CSV_ROWS) % 100, 1, 2)))
    table.write_csv(path, float_precision=2)


# -- detrending --------------------------------------------------------------------------------------------------


def _detrend() -> None:
    """A rolling median of 101 for each curve, then scaling."""
    from scipy.signal import medfilt

    from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor

    flux = 1 + 0.001 * _curves(_DETREND_ROWS)
    ways: dict[str, Callable[[], object]] = {
        "scipy.signal.medfilt": lambda: [_scale(curve - medfilt(curve, 101)) for curve in flux],
        "perdure, one thread": lambda: Preprocessor().apply(flux),
        "perdure, two threads": lambda: Preprocessor().apply(flux, threads=2),
    }
    if importlib.util.find_spec("bottleneck"):
        from bottleneck import move_median

        ways["bottleneck.move_median"] = lambda: [_scale(c - move_median(c, 101, min_count=1)) for c in flux]
    _compare(
        f"Detrending: {_DETREND_ROWS} x {_LENGTH}, median of 5, seconds",
        ways, floor="scipy.signal.medfilt", ours="perdure, two threads", goal=Goal(_DETREND_GOAL),
    )  # fmt: skip


def _scale(residual: np.ndarray) -> np.ndarray:
    return residual / (1.4826 * np.median(np.abs(residual)))  # type: ignore[no-any-return]


def _compare(title: str, ways: dict[str, Callable[[], object]], *, floor: str, ours: str, goal: Goal) -> None:
    """Time each way in turns; the first turn warms up."""
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(6):
        for name, work in ways.items():
            taken = seconds(work)
            if number:
                samples[name].append(taken)
    least = median(samples[floor])
    lines = [
        Line(
            name,
            {"seconds": median(taken), f"x {floor}": median(taken) / least},
            {"seconds": goal} if name == ours else {},
        )
        for name, taken in samples.items()
    ]
    show(title, ["seconds", f"x {floor}"], lines)
