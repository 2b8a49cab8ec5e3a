"""One of the base models: a small dense network in Keras, saved after each epoch and within."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

import perdure
from perdure.pipelines.market.models.training import Scaler, Training

_WIDTHS = (128, 64)
_BATCH = 512


def fit(run: perdure.Run, training: Training) -> bytes:
    """Weights and scaler in safetensors."""
    import keras
    from safetensors.numpy import save

    from perdure.keras import Batches, Resume

    scaler = Scaler.of(training.x)
    model = _build(training.x.shape[1])
    model.compile(
        keras.optimizers.AdamW(0.001, weight_decay=0.01), "binary_crossentropy", weighted_metrics=[]
    )
    batches = Batches(
        scaler(training.x), training.y.astype(np.float32), sample_weight=training.weight.astype(np.float32),
        batch_size=_BATCH,
    )  # fmt: skip
    model.fit(batches, epochs=training.config["epochs"], verbose=0, callbacks=[Resume(run, name="epochs")])
    tensors = {f"weight {k:02}": np.asarray(value) for k, value in enumerate(model.get_weights())}
    return save(
        {**tensors, "mean": scaler.mean, "deviation": scaler.deviation},
        {"architecture": json.dumps({"name": "dense", "widths": _WIDTHS})},
    )


def _build(features: int) -> Any:
    import keras

    layers = keras.layers
    stack = [keras.Input((features,))]
    for width in _WIDTHS:
        stack += [layers.Dense(width, activation="relu"), layers.Dropout(0.4)]
    return keras.Sequential([*stack, layers.Dense(1, activation="sigmoid")])


@dataclass(frozen=True, slots=True)
class Network:
    """A trained network: weights by layer, applied with NumPy, for a forecast needs no framework."""

    scaler: Scaler
    weights: tuple[np.ndarray, ...]

    @classmethod
    def read(cls, content: bytes) -> Network:
        from safetensors.numpy import load

        tensors = load(content)
        names = sorted(name for name in tensors if name.startswith("weight"))
        return cls(Scaler(tensors["mean"], tensors["deviation"]), tuple(tensors[name] for name in names))

    def logit(self, x: np.ndarray) -> np.ndarray:
        signal = self.scaler(x).astype(np.float64)
        *hidden, last = list(zip(self.weights[::2], self.weights[1::2], strict=True))
        for kernel, bias in hidden:
            # einsum rather than @: the same bits in any batch
            signal = np.maximum(np.einsum("nf,fw->nw", signal, kernel) + bias, 0.0)
        return np.asarray((np.einsum("nf,fw->nw", signal, last[0]) + last[1])[:, 0])

    def contributions(self, x: np.ndarray) -> None:
        """None: exact SHAP values of a network are not affordable."""
        return
