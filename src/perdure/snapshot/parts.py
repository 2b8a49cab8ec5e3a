"""Live objects to parts of a snapshot, and back.

A part is arrays plus a JSON document. Objects that offer `state_dict`/`load_state_dict`, arrays, containers of
arrays, and random generators are understood; everything else is refused, never skipped.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from perdure.errors import StateError
from perdure.snapshot import codec

_RESERVED = {"best", "streams", "loop", "history", "__metadata__"}


@dataclass(frozen=True, slots=True)
class Part:
    """One named piece of a snapshot: `tensors` by name, and a JSON-able `document`."""

    name: str
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    document: object = None


class Source(Protocol):
    """Something whose state can be captured into a part, and restored from one."""

    def capture(self) -> tuple[dict[str, np.ndarray], object]: ...

    def restore(self, tensors: Mapping[str, np.ndarray], document: object) -> None: ...


def sources_of(state: Mapping[str, object]) -> dict[str, Source]:
    """A source for each named object. Raises StateError naming the first that cannot be captured."""
    for name in state:
        if not isinstance(name, str) or not name or "/" in name or name in _RESERVED:
            raise StateError(
                f"state= has a part called {name!r}; use a word without '/', not one of {sorted(_RESERVED)}"
            )
    return {name: _source(name, state, value) for name, value in state.items()}


def _source(name: str, owner: Mapping[str, object], value: object) -> Source:
    if hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
        return _StateDict(name, value)
    if isinstance(value, np.random.Generator):
        return _Generator(value)
    if isinstance(value, random.Random):
        return _PythonRandom(value)
    if isinstance(value, np.ndarray | dict | list):
        source = _Container(name, owner)
        source.capture()  # refuses now what could not be saved later
        return source
    raise StateError(
        f"state[{name!r}] is of type {type(value).__name__}, which cannot be captured and restored in place; "
        "give it `state_dict()` and `load_state_dict()`, or put its numbers into an array or a dict"
    )


@dataclass(frozen=True, slots=True)
class _StateDict:
    """An object with `state_dict` and `load_state_dict`."""

    name: str
    owner: Any

    def capture(self) -> tuple[dict[str, np.ndarray], object]:
        return flatten(self.owner.state_dict(), owner=f"state[{self.name!r}].state_dict()")

    def restore(self, tensors: Mapping[str, np.ndarray], document: object) -> None:
        self.owner.load_state_dict(unflatten(document, tensors))


@dataclass(frozen=True, slots=True)
class _Container:
    """An array, or a dict or list of arrays and numbers; it is restored in place.

    It is looked up in `state=` anew at each capture, so that `state["w"] = new` is seen too.
    """

    name: str
    owner: Mapping[str, object]

    def capture(self) -> tuple[dict[str, np.ndarray], object]:
        return flatten(self.owner[self.name], owner=f"state[{self.name!r}]")

    def restore(self, tensors: Mapping[str, np.ndarray], document: object) -> None:
        restored = put_into(self.owner[self.name], unflatten(document, tensors))
        if restored is not self.owner[self.name]:
            if not isinstance(self.owner, MutableMapping):
                raise StateError(f"state[{self.name!r}] changed its shape or type since it was saved")
            self.owner[self.name] = restored


def put_into(target: object, saved: object) -> object:
    """Put `saved` into `target` where that is possible, and return the object that now holds it."""
    if isinstance(target, np.ndarray) and isinstance(saved, np.ndarray):
        if target.shape == saved.shape and target.dtype == saved.dtype and target.flags.writeable:
            np.copyto(target, saved)
            return target
    elif isinstance(target, dict) and isinstance(saved, dict):
        merged = {key: put_into(target.get(key), value) for key, value in saved.items()}
        target.clear()
        target.update(merged)
        return target
    elif isinstance(target, list) and isinstance(saved, list):
        target[:] = [put_into(target[i] if i < len(target) else None, value) for i, value in enumerate(saved)]
        return target
    return saved


@dataclass(frozen=True, slots=True)
class _Generator:
    """A NumPy generator."""

    owner: np.random.Generator

    def capture(self) -> tuple[dict[str, np.ndarray], object]:
        return flatten(dict(self.owner.bit_generator.state), owner="a NumPy generator")

    def restore(self, tensors: Mapping[str, np.ndarray], document: object) -> None:
        saved: Any = unflatten(document, tensors)
        kind = type(self.owner.bit_generator).__name__
        if saved["bit_generator"] != kind:
            raise StateError(f"a generator was saved as {saved['bit_generator']} and is {kind} now")
        self.owner.bit_generator.state = saved


@dataclass(frozen=True, slots=True)
class _PythonRandom:
    """An instance of `random.Random`."""

    owner: random.Random

    def capture(self) -> tuple[dict[str, np.ndarray], object]:
        return flatten(python_random_state(self.owner.getstate()), owner="a random.Random")

    def restore(self, tensors: Mapping[str, np.ndarray], document: object) -> None:
        self.owner.setstate(python_random_tuple(unflatten(document, tensors)))


def python_random_state(state: tuple[Any, ...]) -> dict[str, object]:
    """`random.getstate()` with its 625 words as one array."""
    version, words, gauss = state
    return {"version": version, "words": np.array(words, np.uint32), "gauss": gauss}


def python_random_tuple(saved: Any) -> tuple[Any, ...]:
    return saved["version"], tuple(int(word) for word in saved["words"]), saved["gauss"]


def flatten(value: object, *, owner: str) -> tuple[dict[str, np.ndarray], object]:
    """Take the arrays out of a nested value: they come back by name, with a JSON document of the rest."""
    tensors: dict[str, np.ndarray] = {}
    return tensors, _flatten(value, owner, "", tensors)


def _flatten(value: Any, owner: str, path: str, tensors: dict[str, np.ndarray]) -> object:
    if value is None or (
        isinstance(value, bool | int | float | str) and type(value).__module__ == "builtins"
    ):
        return value
    if isinstance(value, dict) or (isinstance(value, Mapping) and hasattr(value, "items")):
        return {
            "dict": [
                [_key(k, owner, path), _flatten(v, owner, f"{path}/{k}", tensors)] for k, v in value.items()
            ]
        }
    if isinstance(value, list | tuple) and type(value) in {list, tuple}:
        items = [_flatten(item, owner, f"{path}/{i}", tensors) for i, item in enumerate(value)]
        return {type(value).__name__: items}
    array, library = _as_array(value, owner, path)
    codec.dtype_name(array, owner=f"{owner}{path}")
    name = path.lstrip("/") or "value"
    while name in tensors:  # {"a/b": x, "a": {"b": y}}
        name += "'"
    tensors[name] = array
    return {"array": name, "library": library}


def _key(key: object, owner: str, path: str) -> object:
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise StateError(f"{owner}{path} has a key {key!r}; keys must be text or whole numbers")
    return key


def _as_array(value: Any, owner: str, path: str) -> tuple[np.ndarray, str]:
    library = type(value).__module__.partition(".")[0]
    if type(value) in {np.ndarray, np.memmap}:  # other kinds have more than their bytes: masks, units
        return value, "numpy"
    if isinstance(value, np.generic):
        return np.asarray(value), "scalar"
    if library == "torch" and hasattr(value, "detach"):
        return _torch_array(value), "torch"
    if library in {"jax", "jaxlib"} and hasattr(value, "dtype"):
        return np.asarray(value), "jax"
    raise StateError(
        f"{owner}{path} holds a {type(value).__name__}, which a snapshot cannot hold; "
        "use arrays, numbers, text, lists and dicts"
    )


def _torch_array(value: Any) -> np.ndarray:
    tensor = value.detach().cpu().contiguous()
    if str(tensor.dtype) == "torch.bfloat16":
        import ml_dtypes

        return tensor.view(dtype=_torch().int16).numpy().view(ml_dtypes.bfloat16)  # type: ignore[no-any-return]
    return tensor.numpy()  # type: ignore[no-any-return]


def _torch() -> Any:
    import torch

    return torch


def unflatten(document: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    """The inverse of `flatten`. Arrays are fresh copies."""
    if not isinstance(document, dict):
        return document
    ((kind, content),) = [(k, v) for k, v in document.items() if k != "library"]
    if kind == "dict":
        return {key: unflatten(value, tensors) for key, value in content}
    if kind in {"list", "tuple"}:
        items = [unflatten(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    return _revive(np.array(tensors[content]), document["library"])


def _revive(array: np.ndarray, library: str) -> Any:
    if library == "scalar":
        return array[()]
    if library == "torch":
        if array.dtype.name == "bfloat16":
            return _torch().from_numpy(array.view(np.int16)).view(_torch().bfloat16)
        return _torch().from_numpy(array)
    if library == "jax":
        import jax.numpy as jnp

        return jnp.asarray(array)
    return array


def canonical(document: object) -> str:
    """JSON text that is the same for the same value."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))
