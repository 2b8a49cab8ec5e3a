"""What saving each epoch costs a real training: the exoplanet network, alternately with and without perdure.

Two answers. The difference between epochs with and without is what counts, but an epoch of two seconds varies by a
tenth from one to the next on a shared machine, and a save takes a hundredth. What perdure has of the clock and of the
processors, counted where it is spent, varies little: the goal is of that.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import RESULTS, Goal, Line, median, show

_CURVES, _WHOLE = 2_000, 22_668  # measured, and extrapolated to
_BATCH = 64
_PAIRS = 40
_GOAL_SECONDS = 25.0  # an epoch of the whole
_GOAL_SHARE = 0.1  # percent of it that a save may cost


@dataclass(frozen=True, slots=True)
class _Epochs:
    """Seconds, an entry for each epoch that was saved."""

    plain: Sequence[float]  # epochs without perdure
    saved: Sequence[float]  # those with it, each beside its plain one
    taken: Sequence[float]  # what the training waited for Resume, and the writer's time on a processor


def run() -> None:
    RESULTS.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=RESULTS, prefix="epoch-"))
    try:
        epochs = _measure(folder.absolute())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _report(epochs)


def _measure(folder: Path) -> _Epochs:
    """Epochs with a save and plain ones, taken in turns."""
    import keras

    import perdure

    curves, labels = _data()
    model, other = _network(), _network()
    plain: list[float] = []
    saved: list[float] = []

    class InTurns(keras.callbacks.Callback):
        """Between two epochs of `model`, and before its save begins, trains `other` for one epoch without perdure.

        The time to the next call is that of a save (its stall, and all that the writer takes meanwhile) and an epoch.
        """

        _left = 0.0

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            if epoch > 1:  # the first compiles, the second warms up
                saved.append(time.perf_counter() - self._left)
            taken = _fit_once(other, curves, labels)
            if epoch > 0:
                plain.append(taken)
            self._left = time.perf_counter()

    with perdure.open(folder / "run", budget=None) as run:
        resume = _clocked(run)
        model.fit(
            _batches(curves, labels), epochs=_PAIRS + 2, verbose=0, callbacks=[InTurns(), resume]
        )  # fmt: skip
    return _Epochs(plain[: len(saved)], saved, resume.taken[1:][: len(saved)])


def _clocked(run: Any) -> Any:
    """A Resume that notes what it takes, as `taken`: seconds an epoch, from the end of one to that of the next."""
    from perdure.keras import Resume

    class Clocked(Resume):
        def __init__(self) -> None:
            super().__init__(run, name="train")
            self.taken: list[float] = []
            self._waited = self._worked = 0.0

        def _wait(self, call: Callable[..., None], *arguments: Any) -> None:
            began = time.perf_counter()
            call(*arguments)
            self._waited += time.perf_counter() - began

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self._wait(super().on_epoch_begin, epoch, logs)

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            self._wait(super().on_train_batch_begin, batch, logs)

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            worked = _seconds_of_writer()
            if epoch > 0:
                self.taken.append(self._waited + worked - self._worked)
            self._waited, self._worked = 0.0, worked
            self._wait(super().on_epoch_end, epoch, logs)

    return Clocked()


def _seconds_of_writer() -> float:
    """What the thread that writes snapshots has had of a processor."""
    writers = [thread for thread in threading.enumerate() if thread.name == "perdure-writer"]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0)) for thread in writers)


def _data() -> tuple[np.ndarray, np.ndarray]:
    from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor
    from perdure.pipelines.exoplanet.simulator import simulate

    curves = simulate(0, range(_CURVES), planet_share=0.5)
    return Preprocessor().apply(curves.flux, threads=2), curves.label


def _batches(curves: np.ndarray, labels: np.ndarray) -> Any:
    from perdure.keras import Batches

    return Batches(curves, labels.astype(np.float32)[:, None], batch_size=_BATCH, seed=0)


def _network() -> Any:
    from perdure.pipelines.exoplanet.learning.network import PRESETS, build, compile_model

    model = build(PRESETS["full"], seed=0)
    compile_model(model, peak_rate=1e-3, warmup_steps=10, total_steps=10_000)
    return model


def _fit_once(model: Any, curves: np.ndarray, labels: np.ndarray) -> float:
    batches = _batches(curves, labels)
    began = time.perf_counter()
    model.fit(batches, epochs=1, verbose=0)
    return time.perf_counter() - began


def _report(epochs: _Epochs) -> None:
    plain, saved = median(epochs.plain), median(epochs.saved)
    whole = plain * _WHOLE / _CURVES
    differences = np.array(epochs.saved) - np.array(epochs.plain)
    lines = [
        Line("plain fit", {"epoch s": plain, "at 22,668 s": whole}, {}),
        Line(
            "with Resume, saved each epoch",
            {"epoch s": saved, "at 22,668 s": whole + saved - plain, **_cost(differences, plain, whole)},
            {"at 22,668 s": Goal(_GOAL_SECONDS)},
            note=_bounds(differences),
        ),
        Line(
            "waiting for Resume, and its writer",
            _cost(epochs.taken, plain, whole),
            {"% at 22,668": Goal(_GOAL_SHARE)},
            note=_bounds(epochs.taken),
        ),
    ]
    columns = ["epoch s", "at 22,668 s", "save ms", "% of epoch", "% at 22,668"]
    show(f"Epoch of {_CURVES} curves, batches of {_BATCH}: median of {_PAIRS} pairs", columns, lines)


def _cost(seconds: Sequence[float] | np.ndarray, plain: float, whole: float) -> dict[str, float]:
    cost = float(np.median(seconds))
    return {"save ms": 1e3 * cost, "% of epoch": 100 * cost / plain, "% at 22,668": 100 * cost / whole}


def _bounds(seconds: Sequence[float] | np.ndarray) -> str:
    low, high = _interval(seconds)
    return f"95% of resampled medians: {1e3 * low:.1f} to {1e3 * high:.1f} ms a save"


def _interval(seconds: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Bounds of 95% of the medians of resamples."""
    values = np.asarray(seconds)
    drawn = np.random.default_rng(0).choice(values, (4000, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)
