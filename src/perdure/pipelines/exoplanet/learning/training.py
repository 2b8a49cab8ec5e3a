"""Phase 6: the loop that trains the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

import perdure
from perdure.keras import Batches, Resume
from perdure.pipelines.exoplanet.evaluation import ranking
from perdure.pipelines.exoplanet.evaluation.ranking import Ranking
from perdure.pipelines.exoplanet.learning.augmentation import augment
from perdure.pipelines.exoplanet.learning.network import Architecture, build, compile_model
from perdure.pipelines.exoplanet.learning.sampling import epoch_rows, repeats
from perdure.pipelines.exoplanet.learning.shards import DataSet, Labels, Rows

if TYPE_CHECKING:
    from collections.abc import Mapping

_QUIET = -8.0  # sigma: a negative of unknown kind without a deeper point may be given a transit


class Validation(keras.callbacks.Callback):
    """Adds the exact `val_auc`, and `val_loss`, of the validation part to the logs of each epoch, and the
    `learning_rate` that the schedule has come to."""

    def __init__(self, curves: np.ndarray, label: np.ndarray) -> None:
        super().__init__()
        self._curves, self._label = curves, label

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        probability = probabilities(self.model, self._curves)
        clipped = np.clip(probability, 1e-7, 1 - 1e-7)
        loss = -np.mean(self._label * np.log(clipped) + (1 - self._label) * np.log(1 - clipped))
        if logs is not None:
            logs["val_loss"] = float(loss)
            logs["val_auc"] = float(ranking.auc(Ranking.of(probability, self._label).counts()))
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def probabilities(model: keras.Model, curves: np.ndarray) -> np.ndarray:
    """The network's output (n,) float64 for prepared curves (n, length)."""
    if not len(curves):
        return np.zeros(0)
    return np.asarray(model.predict(curves, batch_size=256, verbose=0), np.float64).ravel()


class Shown:
    """What each epoch shows of the training part: a pure function of seed, epoch and row."""

    def __init__(self, data: DataSet, config: Mapping[str, Any], *, seed: int) -> None:
        self.rows = Rows(data.prepared, data.train)
        self.label = data.label[data.train].astype(np.int8)
        self._quiet = _quiet(data)
        self._config, self._seed = config, seed

    def quiet_share(self) -> float:
        """Share of the negatives that may be given a transit."""
        negative = self.label == 0
        return float(self._quiet[negative].mean()) if negative.any() else 0.0

    def order(self, epoch: int) -> np.ndarray:
        """Rows of an epoch; a row's n-th repeat is numbered n times the number of rows higher."""
        rows = epoch_rows(self.label, seed=self._seed, epoch=epoch, share=self._config["shown_share"])
        return rows + len(self.label) * repeats(rows)

    def augment(
        self, curves: np.ndarray, label: np.ndarray, epoch: int, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if not self._config["augment"]:
            return curves, label.astype(np.float32)
        repeat, row = np.divmod(rows, len(self.label))
        return augment(
            curves, label, seed=self._seed, epoch=epoch, rows=row, quiet=self._quiet[row], repeat=repeat
        )


def _quiet(data: DataSet) -> np.ndarray:
    """Which training rows are stars without events, that a transit may be injected into."""
    if "kind" in data.columns:
        return data.columns["kind"][data.train] == "quiet"
    depth = data.measures[data.train, -1]
    return (data.label[data.train] == 0) & (depth > _QUIET)


def train(run: perdure.Run, architecture: dict[str, Any], data: DataSet) -> keras.Model:
    """Train, or go on training; returns the network with the weights of the best epoch."""
    config: Mapping[str, Any] = run.config
    seed = run.seed or 0
    model = build(Architecture.from_document(architecture), seed=seed)
    shown = Shown(data, config, seed=seed)
    batches = Batches(
        shown.rows, Labels(shown.label), batch_size=config["batch_size"], seed=seed, sampler=shown.order,
        augment=shown.augment,
    )  # fmt: skip
    steps = len(batches)
    compile_model(
        model,
        peak_rate=config["peak_rate"],
        warmup_steps=min(config["warmup_epochs"] * steps, config["epochs"] * steps - 1),
        total_steps=config["epochs"] * steps,
    )
    validation = Rows(data.prepared, data.validation).whole()
    resume = Resume(run, name="train", every=("epoch", "30s"), best="max:val_auc")
    model.fit(
        batches,
        epochs=config["epochs"],
        verbose=0,
        callbacks=[
            Validation(validation, data.label[data.validation]),
            keras.callbacks.EarlyStopping(monitor="val_auc", mode="max", patience=config["patience"]),
            resume,
        ],
    )
    resume.restore_best()
    return model
