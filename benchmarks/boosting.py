"""What a durable LightGBM fit costs: 55,000 rows x 202 features, with and without chunks, in turns."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import RESULTS, Goal, Line, median, seconds, show

_ROWS, _VALID_ROWS, _FEATURES = 55_000, 11_000, 202  # the market pipeline's matrix
_ROUNDS, _CHUNK, _TURNS = 300, 50, 3
_GOAL_SHARE = 3.0  # percent that chunks, saving and the fingerprint may add
_PARAMS = {
    "objective": "binary", "metric": "auc", "learning_rate": 0.05, "num_leaves": 31, "bagging_fraction": 0.7,
    "bagging_freq": 1, "feature_fraction": 0.5, "verbosity": -1, "deterministic": True, "force_col_wise": True,
    "num_threads": 2, "seed": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Matrix:
    x: np.ndarray
    y: np.ndarray

    @classmethod
    def made(cls) -> _Matrix:
        generator = np.random.default_rng(0)
        x = generator.standard_normal((_ROWS + _VALID_ROWS, _FEATURES), np.float32)
        signal = 0.35 * (x[:, 0] * x[:, 1] + x[:, 2] + np.sin(2 * x[:, 3]))
        return cls(x, (signal + generator.standard_normal(len(x)) > 0).astype(np.int8))

    def data(self) -> Any:
        import lightgbm

        return lightgbm.Dataset(self.x[:_ROWS], self.y[:_ROWS], free_raw_data=False)

    def auc(self, model: Any) -> float:
        from sklearn.metrics import roc_auc_score

        return float(roc_auc_score(self.y[_ROWS:], model.predict(self.x[_ROWS:], raw_score=True)))


@dataclass(slots=True)
class _Contender:
    fit: Callable[[Path], Any]
    model: Any = None
    samples: list[float] = field(default_factory=list)

    def take(self, folder: Path) -> None:
        def work() -> None:
            self.model = self.fit(folder)

        self.samples.append(seconds(work))


def run() -> None:
    RESULTS.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=RESULTS, prefix="boosting-")).absolute()
    matrix = _Matrix.made()
    contenders = {
        "lightgbm.train, nothing saved": _Contender(lambda _: _plain(matrix)),
        "init_model and save_model each chunk": _Contender(lambda place: _continued(matrix, place)),
        "perdure.boosting.train": _Contender(lambda place: _durable(matrix, place)),
    }
    try:
        for turn in range(_TURNS):
            for number, contender in enumerate(contenders.values()):
                place = folder / f"{turn}-{number}"
                place.mkdir()
                contender.take(place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _report(matrix, contenders)


def _plain(matrix: _Matrix) -> Any:
    import lightgbm

    return lightgbm.train(_PARAMS, matrix.data(), num_boost_round=_ROUNDS)


def _continued(matrix: _Matrix, folder: Path) -> Any:
    """What one writes by hand; killed, it goes on, with other bits than without the kill."""
    import lightgbm

    model, data = None, matrix.data()
    for _ in range(_ROUNDS // _CHUNK):
        model = lightgbm.train(_PARAMS, data, num_boost_round=_CHUNK, init_model=model)
        model.save_model(folder / "model.txt")
    return model


def _durable(matrix: _Matrix, folder: Path) -> Any:
    import perdure

    with perdure.open(folder / "run", seed=1) as run:
        return perdure.boosting.train(run, "fit", _PARAMS, matrix.data(), rounds=_ROUNDS, chunk=_CHUNK)


def _report(matrix: _Matrix, contenders: dict[str, _Contender]) -> None:
    plain = median(next(iter(contenders.values())).samples)
    lines = []
    for name, contender in contenders.items():
        taken = median(contender.samples)
        values = {"fit s": taken, "% more": 100 * (taken / plain - 1), "AUC": matrix.auc(contender.model)}
        goals = {"% more": Goal(_GOAL_SHARE)} if name.startswith("perdure") else {}
        lines.append(Line(name, values, goals))
    show(
        f"LightGBM: {_ROWS:,} x {_FEATURES}, {_ROUNDS} rounds in chunks of {_CHUNK}: median of {_TURNS}",
        ["fit s", "% more", "AUC"],
        lines,
    )
