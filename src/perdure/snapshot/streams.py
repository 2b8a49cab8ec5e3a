"""Random streams: Python's, NumPy's global one, and those of every framework that is loaded.

JAX has none: its keys are values, and Keras keeps them in seed generators among the model's variables.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.snapshot.parts import Part, flatten, python_random_state, python_random_tuple, unflatten

_KERAS_STATE, _KERAS_GENERATOR = "keras.src.backend.common.global_state", "global_seed_generator"


def seed_for(*names: object) -> int:
    """A 64-bit seed that depends on every one of `names`."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def loaded() -> frozenset[str]:
    """The libraries with a random stream that this process has imported."""
    return frozenset(name for name in ("random", "numpy", "torch", "tensorflow") if name in sys.modules)


def seed(value: int, *, only: frozenset[str] | None = None) -> None:
    """Start the streams of the loaded libraries (or of those in `only`) from `value`."""
    wanted = loaded() if only is None else only
    if "random" in wanted:
        random.seed(value)
    if "numpy" in wanted:
        np.random.seed(value & 0xFFFFFFFF)
    if "torch" in wanted:
        sys.modules["torch"].manual_seed(value)
    if "tensorflow" in wanted:
        sys.modules["tensorflow"].random.set_seed(value & 0x7FFFFFFF)
    if only is None:
        # Keras draws a seed for it at its first use: that must not depend on what this process ran before.
        _set_keras_generator(None)


def capture(*, only: frozenset[str] | None = None) -> Part:
    """The state of the streams of all loaded libraries (or of those in `only`), as the part `streams`."""
    wanted = loaded() if only is None else only & loaded()
    value: dict[str, object] = {"random": python_random_state(random.getstate())}
    legacy: Any = np.random.get_state(legacy=False)
    value["numpy"] = {**legacy, "state": dict(legacy["state"])}
    if "torch" in wanted:
        value["torch"] = sys.modules["torch"].get_rng_state().numpy()
    if "tensorflow" in wanted:
        value["tensorflow"] = _tensorflow_state()
    return Part("streams", *flatten(value, owner="the random streams"))


def restore(tensors: Mapping[str, np.ndarray], document: object) -> None:
    """Put every stream back where it was."""
    saved = unflatten(document, tensors)
    random.setstate(python_random_tuple(saved["random"]))
    np.random.set_state(saved["numpy"])
    if "torch" in saved and "torch" in sys.modules:
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.from_numpy(saved["torch"]))
    if saved.get("tensorflow") and "tensorflow" in sys.modules:
        _restore_tensorflow(saved["tensorflow"])


def _tensorflow_state() -> dict[str, object] | None:
    """Operations draw their seeds from the eager context's own generator."""
    from tensorflow.python.eager import context

    current = context.context()
    generator = getattr(current, "_rng", None)
    state = python_random_state(generator.getstate()) if generator is not None else None
    return {"seed": current._seed, "generator": state}


def _restore_tensorflow(saved: Any) -> None:
    from tensorflow.python.eager import context

    current = context.context()
    if saved["generator"] is None:
        return
    if getattr(current, "_rng", None) is None:
        current._set_global_seed(saved["seed"] or 0)
    current._seed = saved["seed"]
    current._rng.setstate(python_random_tuple(saved["generator"]))


@dataclass(frozen=True, slots=True)
class Outer:
    """The streams outside a unit. generator: Keras's global seed generator, which it makes at its first use."""

    part: Part
    generator: object


def enter(value: int) -> Outer:
    """Begin a unit on streams of its own, seeded by `value`; returns those outside."""
    outer = Outer(capture(), _keras_generator())
    seed(value)
    return outer


def leave(outer: Outer) -> None:
    """End a unit: the streams outside return."""
    restore(outer.part.tensors, outer.part.document)
    _set_keras_generator(outer.generator)


@contextmanager
def unit(value: int | None) -> Iterator[None]:
    """Run one unit on streams of its own, seeded by `value`; the outer streams return afterwards.

    With None the unit draws from the outer streams.
    """
    if value is None:
        yield
        return
    outer = enter(value)
    try:
        yield
    finally:
        leave(outer)


def _keras_generator() -> object:
    state = sys.modules.get(_KERAS_STATE)
    return None if state is None else state.get_global_attribute(_KERAS_GENERATOR)


def _set_keras_generator(generator: object) -> None:
    if (state := sys.modules.get(_KERAS_STATE)) is not None:
        state.set_global_attribute(_KERAS_GENERATOR, generator)
