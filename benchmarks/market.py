"""The market pipeline: features of a symbol, and the whole quick run with and without what perdure saves."""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from benchmarks.table import RESULTS, Goal, Line, median, seconds, show

_SYMBOLS, _TURNS = 20, 2
_FEATURES_GOAL = 33.0  # ms a symbol: what the first sketch of them took
_SAVING_GOAL = 3.0  # percent of the whole run


def run() -> None:
    RESULTS.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=RESULTS, prefix="market-")).absolute()
    try:
        _features(folder)
        _whole(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- features ----------------------------------------------------------------------------------------------------


def _features(folder: Path) -> None:
    from perdure.pipelines.market.config import preset
    from perdure.pipelines.market.data.source import source
    from perdure.pipelines.market.data.symbols import companies
    from perdure.pipelines.market.samples import backtest

    settings = preset("full")
    provider, plan = source("synthetic", cache=folder, config=settings), backtest.Plan.of(settings)
    chosen = [c for c in companies() if c.symbol != "PLTR"][: _SYMBOLS + 1]
    materials = [(c, backtest.material_of(c, provider, plan.grid)) for c in chosen]
    backtest.samples(chosen[0], provider, plan)  # compiles
    features = [1e3 * seconds(lambda c=c, m=m: backtest.features(c, provider, m)) for c, m in materials[1:]]
    whole = [1e3 * seconds(lambda c=c: backtest.samples(c, provider, plan)) for c in chosen[1:]]
    lines = [
        Line("202 features", {"ms a symbol": median(features)}, {"ms a symbol": Goal(_FEATURES_GOAL)}),
        Line("bars, features, labels, rows", {"ms a symbol": median(whole)}, {}),
    ]
    show(f"Features of 2,520 bars: median of {_SYMBOLS} symbols", ["ms a symbol"], lines)


# -- the whole run -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Unsaved:
    """The verbs of a run that keep nothing but the table of samples, as a plain script would."""

    folder: Path
    config: Mapping[str, Any]
    seed: int = 0
    exit_code: int = 0
    results: dict[str, Any] = field(default_factory=dict)

    @property
    def exports(self) -> Path:
        return self.folder / "exports"

    def step(self, _name: str, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        return function(*arguments, **options)

    def map(
        self, _name: str, keys: Mapping[str, Any], function: Callable[[Any], Any], *, into: str, **_: Any
    ) -> Any:
        spawn = multiprocessing.get_context("spawn")
        with (
            ProcessPoolExecutor(2, mp_context=spawn) as pool,
            sqlite3.connect(self.folder / "run.db") as database,
        ):
            for position, (key, table) in enumerate(
                zip(keys, pool.map(function, keys.values()), strict=True)
            ):
                columns = [*table.columns, "_position", "_row"]
                database.execute(f"CREATE TABLE IF NOT EXISTS {into} ({', '.join(map(repr, columns))})")
                database.executemany(
                    f"INSERT INTO {into} VALUES ({', '.join('?' * len(columns))})",
                    [(*row, position, number) for number, row in enumerate(table.iter_rows())],
                )
                self.results[key] = len(table)
        return dict.fromkeys(keys)

    def each(self, _name: str, keys: list[str]) -> Any:
        return _Units(keys)

    def export(self, name: str, content: bytes) -> Path:
        self.exports.mkdir(exist_ok=True)
        place = self.exports / name
        place.write_bytes(content)
        return place


@dataclass(slots=True)
class _Units:
    keys: list[str]
    results: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Any]:
        for key in self.keys:
            unit = SimpleNamespace(key=key, result=None)
            yield unit
            self.results[key] = unit.result


def _plain_boosting(
    _run: Any, _name: str, params: dict[str, Any], rows: Any, *, rounds: int, chunk: int
) -> Any:
    kind = type(rows).__module__.partition(".")[0]
    if kind == "lightgbm":
        import lightgbm

        return lightgbm.train(params | {"deterministic": True, "force_col_wise": True}, rows, rounds)
    if kind == "xgboost":
        import xgboost

        return xgboost.train(params, rows, rounds)
    import catboost

    return catboost.CatBoost({**params, "iterations": rounds}).fit(rows)


def _plain_sklearn(_run: Any, _name: str, estimator: Any, x: Any, y: Any, **options: Any) -> Any:
    return estimator.fit(x, y, **options)


@contextlib.contextmanager
def _nothing_saved() -> Iterator[None]:
    import keras

    import perdure

    @contextlib.contextmanager
    def opened(folder: Path, *, config: Mapping[str, Any], **_: Any) -> Iterator[_Unsaved]:
        folder.mkdir(parents=True)
        yield _Unsaved(folder, config)

    def nothing(*_: Any, **__: Any) -> Any:
        return keras.callbacks.Callback()

    with (
        mock.patch.object(perdure, "open", opened),
        mock.patch.object(perdure.boosting, "train", _plain_boosting),
        mock.patch.object(perdure.sklearn, "fit", _plain_sklearn),
        mock.patch.object(perdure.keras, "Resume", nothing),
    ):
        yield


def _whole(folder: Path) -> None:
    from perdure.pipelines.market import pipeline

    taken: dict[str, list[float]] = {"nothing saved": [], "perdure": []}
    for turn in range(_TURNS):
        with _nothing_saved(), contextlib.redirect_stdout(None):
            taken["nothing saved"].append(
                seconds(lambda turn=turn: pipeline.main("quick", folder / f"plain-{turn}" / "run"))
            )
        with contextlib.redirect_stdout(None):
            taken["perdure"].append(
                seconds(lambda turn=turn: pipeline.main("quick", folder / f"saved-{turn}" / "run"))
            )
    plain = median(taken["nothing saved"])
    lines = [
        Line(
            name, {"s": median(samples), "% more": 100 * (median(samples) / plain - 1)},
            {"% more": Goal(_SAVING_GOAL)} if name == "perdure" else {},
        )
        for name, samples in taken.items()
    ]  # fmt: skip
    show(f"Market, quick preset, whole run: median of {_TURNS}", ["s", "% more"], lines)
