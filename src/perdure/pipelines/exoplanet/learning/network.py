"""The network: strided convolutions, an LSTM over what they leave, two dense layers. Any Keras backend.

Everything random in it (initialisers, dropout) is seeded from one number, and every layer has a fixed
name, so that two builds with one seed hold the same bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import LENGTH

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True)
class Architecture:
    """What must be known to build the network again.

    length:      points of an input curve.
    filters:     channels of each convolution.
    kernels:     width of each convolution, as many as `filters`.
    stride:      of the first convolution; the others step by one.
    lstm, dense: units. The dense layer sees all steps of the LSTM.
    """

    name: str
    length: int
    filters: tuple[int, ...]
    kernels: tuple[int, ...]
    stride: int
    lstm: int
    dense: int
    dropout: float

    def __post_init__(self) -> None:
        if len(self.filters) != len(self.kernels) or not self.filters:
            raise UsageError(
                f"architecture {self.name!r} has {len(self.filters)} filters and {len(self.kernels)} kernels; "
                "give one kernel width for each convolution"
            )
        if self.steps < 1:
            raise UsageError(
                f"architecture {self.name!r} leaves no step of a curve of {self.length} points; "
                "use longer curves or fewer convolutions"
            )

    @property
    def steps(self) -> int:
        """Time steps that the LSTM sees: each convolution is followed by a halving."""
        steps = (self.length - self.kernels[0]) // self.stride + 1
        return steps >> len(self.filters)

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "filters": list(self.filters), "kernels": list(self.kernels)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Architecture:
        """The inverse of `as_document`. Raises UsageError when a field is missing or unknown."""
        known = {field.name for field in fields(cls)}
        if set(document) != known:
            raise UsageError(
                f"an architecture has the fields {sorted(known)}, this document has {sorted(document)}; "
                "use the model.json that was written with the model"
            )
        lists = {"filters": tuple(document["filters"]), "kernels": tuple(document["kernels"])}
        return cls(**{**document, **lists})


_FULL = Architecture("full", LENGTH, (16, 32, 64, 128), (16, 5, 5, 5), 4, lstm=64, dense=256, dropout=0.3)
_SMALL = Architecture("small", LENGTH, (8, 16, 32, 48), (16, 5, 5, 5), 4, lstm=24, dense=64, dropout=0.3)
_TINY = Architecture("tiny", 512, (4, 8), (8, 5), 4, lstm=6, dense=12, dropout=0.2)
PRESETS = {preset.name: preset for preset in (_FULL, _SMALL, _TINY)}


def build(architecture: Architecture, *, seed: int) -> keras.Model:
    """The network, not compiled: preprocessed curves (n, length) float32 -> probability (n, 1)."""
    import keras

    from perdure.pipelines.exoplanet.learning.layers import Halve

    seeds = _Seeds(seed)
    layers = keras.layers
    inputs = keras.Input((architecture.length,), name="curve")
    x = layers.Reshape((architecture.length, 1), name="channel")(inputs)
    stack = zip(architecture.filters, architecture.kernels, strict=True)
    for number, (filters, kernel) in enumerate(stack, start=1):
        x = layers.Conv1D(
            filters,
            kernel,
            strides=architecture.stride if number == 1 else 1,
            padding="valid" if number == 1 else "same",
            kernel_initializer=keras.initializers.HeNormal(seed=seeds.draw()),
            name=f"conv{number}",
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
        x = layers.ReLU(name=f"relu{number}")(x)
        x = Halve(name=f"pool{number}")(x)
    x = _recurrent(architecture, seeds)(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(
        architecture.dense,
        activation="relu",
        kernel_initializer=keras.initializers.HeNormal(seed=seeds.draw()),
        name="dense",
    )(x)
    x = layers.Dropout(architecture.dropout, seed=seeds.draw(), name="dropout")(x)
    outputs = layers.Dense(
        1,
        activation="sigmoid",
        kernel_initializer=keras.initializers.GlorotUniform(seed=seeds.draw()),
        name="planet",
    )(x)
    return keras.Model(inputs, outputs, name=f"exoplanet_{architecture.name}")


def describe(name: str, length: int, *, seed: int) -> dict[str, Any]:
    """Phase 5: the preset `name` for curves of `length` points, as a document, with its number of parameters."""
    if name not in PRESETS:
        raise UsageError(f"there is no network {name!r}; there are {', '.join(PRESETS)}")
    architecture = replace(PRESETS[name], length=length)
    return {
        "architecture": architecture.as_document(),
        "parameters": build(architecture, seed=seed).count_params(),
    }


def compile_model(
    model: keras.Model, *, peak_rate: float, warmup_steps: int, total_steps: int, clip_norm: float = 1.0
) -> None:
    """Compile for training: Adam under warm-up and cosine, binary cross-entropy.

    Step counts are training steps (batches); the rate depends on the optimiser's own counter alone, so it
    resumes with the optimiser.
    """
    import keras

    from perdure.pipelines.exoplanet.learning.schedule import WarmupCosine

    rate = WarmupCosine(peak_rate=peak_rate, warmup_steps=warmup_steps, total_steps=total_steps)
    model.compile(
        optimizer=keras.optimizers.Adam(rate, clipnorm=clip_norm),
        loss=keras.losses.BinaryCrossentropy(),
    )


def _recurrent(architecture: Architecture, seeds: _Seeds) -> keras.Layer:
    import keras

    return keras.layers.LSTM(
        architecture.lstm,
        return_sequences=True,
        kernel_initializer=keras.initializers.GlorotUniform(seed=seeds.draw()),
        recurrent_initializer=keras.initializers.Orthogonal(seed=seeds.draw()),
        seed=seeds.draw(),
        name="lstm",
    )


class _Seeds:
    """A new seed for each thing that draws, in the order of building."""

    def __init__(self, seed: int) -> None:
        self._stream = np.random.default_rng([seed, 0x6E6574])  # "net": apart from the simulator's stars

    def draw(self) -> int:
        return int(self._stream.integers(0, 2**31 - 1))
