"""Random streams: Python's, NumPy's global one, and those of every framework that is loaded.

JAX has none: its keys are values, and Keras keeps them in seed generators among the model's variables.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perdure.snapshot.parts import (
    Part,
    canonical,
    flatten,
    python_random_state,
    python_random_tuple,
    unflatten,
)

_LATE = ("torch", "tensorflow")  # have a stream of their own, and may be imported at any time
_KERAS_STATE, _KERAS_GENERATOR = "keras.src.backend.common.global_state", "global_seed_generator"


def seed_for(*names: object) -> int:
    """A 64-bit seed that depends on every one of `names`."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def loaded() -> frozenset[str]:
    """The libraries with a random stream that this process has imported."""
    return frozenset(name for name in ("random", "numpy", *_LATE) if name in sys.modules)


@dataclass(slots=True)
class _Latecomers:
    """How the streams of libraries begin that are imported later, so that it does not matter when they are.

    A stream that stands where the seed has put it is not recorded: that of a library which is not imported cannot be.
    """

    seed: int | None = None  # what all streams were seeded with last
    present: set[str] = field(default_factory=set)  # those that came
    awaited: dict[str, Any] = field(
        default_factory=dict
    )  # states that were restored before their library came
    fresh: dict[str, str] = field(default_factory=dict)  # digests of states right after seeding


_late = _Latecomers()


def seed(value: int) -> None:
    """Start all streams from `value`; those of libraries that are imported later, too."""
    global _late
    _late = _Latecomers(value)
    random.seed(value)
    np.random.seed(value & 0xFFFFFFFF)
    for name in _LATE:
        if name in sys.modules:
            _seed_late(name)


def seed_unit(value: int) -> None:
    """As `seed`, for a unit: also Keras's global generator, which it makes at its first use from a seed that it draws,
    must not depend on what this process ran before.
    """
    seed(value)
    _set_keras_generator(None)


def _seed_late(name: str) -> None:
    _late.present.add(name)
    if _late.seed is None:
        return
    if name == "torch":
        sys.modules["torch"].manual_seed(_late.seed)
    else:
        sys.modules["tensorflow"].random.set_seed(_late.seed & 0x7FFFFFFF)
    _late.fresh[name] = _digest(_state_of(name))


def arrived() -> None:
    """Packages were imported: their streams go where they would be, had they been there before."""
    for name in _LATE:
        if name in sys.modules and name not in _late.present:
            _seed_late(name)
            if name in _late.awaited:
                _put(name, _late.awaited.pop(name))


def capture(*, only: frozenset[str] | None = None) -> Part:
    """The state of the streams of all libraries (or of those in `only`), as the part `streams`."""
    value: dict[str, object] = {"random": python_random_state(random.getstate())}
    legacy: Any = np.random.get_state(legacy=False)
    value["numpy"] = {**legacy, "state": dict(legacy["state"])}
    for name in _LATE if only is None else [name for name in _LATE if name in only]:
        state = _state_of(name) if name in sys.modules else _late.awaited.get(name)
        is_fresh = state is None or _digest(state) == _late.fresh.get(name)
        value[name] = None if is_fresh else state
    return Part("streams", *flatten(value, owner="the random streams"))


def restore(tensors: Mapping[str, np.ndarray], document: object) -> None:
    """Put every stream back where it was."""
    saved = unflatten(document, tensors)
    random.setstate(python_random_tuple(saved["random"]))
    np.random.set_state(saved["numpy"])
    for name in [name for name in _LATE if name in saved]:
        _late.awaited.pop(name, None)
        if name not in sys.modules:
            if saved[name] is not None:
                _late.awaited[name] = saved[name]
        elif saved[name] is not None:
            _late.present.add(name)
            _put(name, saved[name])
        else:
            _seed_late(name)


def _state_of(name: str) -> Any:
    return sys.modules["torch"].get_rng_state().numpy() if name == "torch" else _tensorflow_state()


def _put(name: str, state: Any) -> None:
    if name == "torch":
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.from_numpy(np.array(state)))
    else:
        _restore_tensorflow(state)


def _digest(state: Any) -> str:
    tensors, document = flatten({"state": state}, owner="a random stream")
    hasher = hashlib.sha256(canonical(document).encode())
    for name in sorted(tensors):
        hasher.update(np.ascontiguousarray(tensors[name]).tobytes())
    return hasher.hexdigest()


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
    late: _Latecomers


def enter(value: int) -> Outer:
    """Begin a unit on streams of its own, seeded by `value`; returns those outside."""
    outer = Outer(capture(), _keras_generator(), _late)
    seed_unit(value)
    return outer


def leave(outer: Outer) -> None:
    """End a unit: the streams outside return; also those of libraries that the unit was the first to import."""
    global _late
    _late = outer.late
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
