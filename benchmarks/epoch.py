"""What saving each epoch costs a real training: the exoplanet network, alternately with and without perdure."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import RESULTS, Goal, Line, median, show

_CURVES, _WHOLE = 2_000, 22_668  # measured, and extrapolated to
_BATCH = 64
_PAIRS = 40
_GOAL_SECONDS = 25.0  # an epoch of the whole
_GOAL_SHARE = 0.1  # percent of it that a save may cost


def run() -> None:
    RESULTS.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=RESULTS, prefix="epoch-"))
    try:
        saved, plain = _measure(folder.absolute())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _report(np.array(saved), np.array(plain))


def _measure(folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of epochs with a save, and of plain ones, taken in turns."""
    import keras

    import perdure
    from perdure.keras import Resume

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
        model.fit(
            _batches(curves, labels), epochs=_PAIRS + 2, verbose=0,
            callbacks=[InTurns(), Resume(run, name="train")],
        )  # fmt: skip
    return saved, plain[: len(saved)]


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


def _report(saved: np.ndarray, plain: np.ndarray) -> None:
    low, high = _interval(saved - plain)
    cost = float(np.median(saved - plain))
    whole = median(list(plain)) * _WHOLE / _CURVES
    share = 100 * cost / whole
    lines = [
        Line("plain fit", {"epoch s": median(list(plain)), "at 22,668 s": whole}, {}),
        Line(
            "with Resume, saved each epoch",
            {
                "epoch s": median(list(saved)),
                "at 22,668 s": whole + cost,
                "save ms": 1e3 * cost,
                "% of epoch": 100 * cost / median(list(plain)),
                "% at 22,668": share,
                "% at most": 100 * high / whole,
            },
            {"at 22,668 s": Goal(_GOAL_SECONDS), "% at most": Goal(_GOAL_SHARE)},
            note=f"95% of resampled medians: {1e3 * low:.1f} to {1e3 * high:.1f} ms a save",
        ),
    ]
    columns = ["epoch s", "at 22,668 s", "save ms", "% of epoch", "% at 22,668", "% at most"]
    show(f"Epoch of {_CURVES} curves, batches of {_BATCH}: median of {len(saved)} pairs", columns, lines)


def _interval(differences: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Bounds of 95% of the medians of resamples."""
    values = np.asarray(differences)
    drawn = np.random.default_rng(0).choice(values, (4000, len(values)))
    low, high = np.percentile(np.median(drawn, axis=1), [2.5, 97.5])
    return float(low), float(high)
