"""What must be the same for a saved fit to go on: the model, how it is compiled, the data, the arguments of `fit`.

All of it becomes flat names and JSON values, so that a refusal names the layer and the number that changed.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import blake3
import keras
import numpy as np

from perdure.keras.batches import leaves
from perdure.snapshot.parts import canonical

_WHOLE = 16 << 20  # bytes: data up to this size count completely
_SAMPLED = 256  # rows that count of larger data
_LONGEST = 120  # characters of a value shown as it is; a digest stands for longer ones
_UNTOLD = {"self", "name", "seed", "args", "kwargs", "layers", "inputs", "outputs", "tensor", "input_tensor"}
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Names:
    """Layer names as a fresh process would give them.

    Keras numbers unnamed layers through the whole process (`dense_7`), and a resumed process makes fewer models.
    """

    aliases: dict[str, str]
    joined: dict[str, str]  # paths of model variables as optimizers write them -> the same with aliases

    @classmethod
    def of(cls, model: Any) -> Names:
        aliases: dict[str, str] = {}
        counts: dict[str, int] = {}
        for layer in layers_of(model):
            base = _snake(type(layer).__name__)
            if not re.fullmatch(rf"{re.escape(base)}(_\d+)?", layer.name) or layer.name in aliases:
                continue
            count = counts.get(base, 0)
            counts[base] = count + 1
            aliases[layer.name] = f"{base}_{count}" if count else base
        plain = cls(aliases, {})
        paths = sorted((v.path for v in model.variables), key=len, reverse=True)
        joined = {p.replace("/", "_"): plain.of_variable(p).replace("/", "_") for p in paths}
        return cls(aliases, joined)

    def of_variable(self, path: str) -> str:
        return "/".join(self._segment(segment) for segment in path.split("/"))

    def _segment(self, segment: str) -> str:
        if segment in self.aliases:
            return self.aliases[segment]
        return re.sub(r"^(seed_generator|[a-z_]+?)_\d+$", r"\1", segment)

    def of_optimizer_variable(self, path: str) -> str:
        owner, _, name = path.partition("/")
        for joined, alias in self.joined.items():
            if name.startswith(joined):
                name = alias + name[len(joined) :]
                break
        return f"{re.sub(r'_[0-9]+$', '', owner)}/{name}"


def layers_of(model: Any) -> list[Any]:
    """The model and all layers inside it, outermost first."""
    found = [model]
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if all(layer is not other for other in found):
            found.append(layer)
    return found


def describe_model(model: Any) -> dict[str, object]:
    """Layers with their settings, variables with their shapes, the graph, and the optimizer."""
    names = Names.of(model)
    found: dict[str, object] = {}
    for layer in layers_of(model):
        label = f"model layer {names.aliases.get(layer.name, layer.name)}"
        found[label] = type(layer).__name__
        found |= {f"{label} {name}": value for name, value in _settings(layer)}
        if (graph := _graph(layer, names)) is not None:
            found[f"{label} graph"] = graph
    for variable in model.variables:
        path = f"model variable {names.of_variable(variable.path)}"
        found[path] = f"{variable.dtype} {[int(size) for size in variable.shape]}"
    if getattr(model, "optimizer", None) is not None:
        found["optimizer"] = type(model.optimizer).__name__
        found |= {f"optimizer {name}": value for name, value in _settings(model.optimizer)}
    return found


def describe_data(name: str, value: Any) -> dict[str, object]:
    """Rows, shapes and a digest of arrays: of everything up to 16 MB, of 256 rows spread evenly beyond."""
    found: dict[str, object] = {}
    arrays = leaves(value)
    for i, array in enumerate(arrays):
        label = name if len(arrays) == 1 else f"{name}[{i}]"
        found[label] = _digest_rows(array)
    return found


def describe_arguments(arguments: Mapping[str, object]) -> dict[str, object]:
    """Arguments of `fit` that decide its results."""
    return {f"fit {name}": value if _is_plain(value) else _short(value) for name, value in arguments.items()}


def _digest_rows(array: Any) -> str:
    count = len(array)
    size = getattr(array, "nbytes", None)
    if size is not None and size <= _WHOLE:
        sample = np.asarray(array)
    else:
        rows = np.unique(np.linspace(0, count - 1, num=min(count, _SAMPLED)).astype(np.int64))
        indexed = array.iloc if hasattr(array, "iloc") else array
        sample = np.asarray(indexed[rows])
    plain = np.ascontiguousarray(sample)
    content = canonical([str(item) for item in plain.ravel()]).encode() if plain.dtype.hasobject else plain
    digest = blake3.blake3(bytes(content)).hexdigest()[:16]
    return f"{plain.dtype} {[count, *plain.shape[1:]]} {digest}"


def _settings(owner: Any) -> Iterator[tuple[str, object]]:
    """What an object was made with: its constructor's parameters, read from attributes of the same names.

    Keras's `get_config` would import TensorFlow, where it is installed, into a process that does not use it.
    """
    names: dict[str, None] = {}
    for kind in type(owner).__mro__:
        if "__init__" in vars(kind) and kind is not object:
            names |= dict.fromkeys(inspect.signature(vars(kind)["__init__"]).parameters)
    for name in names:
        value = vars(owner).get(f"_{name}", _MISSING)
        if value is _MISSING or callable(value):
            value = getattr(owner, name, _MISSING)
        if name not in _UNTOLD and value is not _MISSING and value is not None:
            yield from _setting(name, value)


def _setting(name: str, value: Any) -> Iterator[tuple[str, object]]:
    if _is_plain(value):
        yield name, value
    elif isinstance(value, keras.Variable):
        yield name, _short(np.asarray(keras.ops.convert_to_numpy(value)).tolist())
    elif isinstance(value, keras.Layer | keras.optimizers.Optimizer):
        yield name, type(value).__name__  # described by itself, or by its variables
    elif type(value).__module__.startswith("keras.") and not callable(value):
        yield name, type(value).__name__
        for inner, setting in _settings(value):
            yield f"{name}.{inner}", setting
    elif callable(value) and hasattr(value, "__name__"):
        yield name, value.__name__
    else:
        yield name, type(value).__name__ if hasattr(value, "__dict__") else _short(value)
        if hasattr(value, "__dict__") and callable(value):  # initializers and regularizers are called
            for inner, setting in _settings(value):
                yield f"{name}.{inner}", setting


def _graph(model: Any, names: Names) -> str | None:
    """Which operation feeds which, of a functional model."""
    by_depth = getattr(model, "_nodes_by_depth", None)
    if by_depth is None:
        return None
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]

    def label(operation: Any) -> str:
        return str(names.aliases.get(operation.name, operation.name))

    edges = sorted(
        [label(node.operation), sorted(label(p.operation) for p in node.parent_nodes)] for node in nodes
    )
    return _short(edges)


def _is_plain(value: object) -> bool:
    return value is None or (isinstance(value, bool | int | float | str) and len(str(value)) <= _LONGEST)


def _plain(value: Any) -> Any:
    """The value as JSON; of what is not JSON, its type."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray | np.generic):
        return [str(value.dtype), list(value.shape), blake3.blake3(value.tobytes()).hexdigest()]
    return type(value).__name__


def _short(value: Any) -> str:
    text = canonical(_plain(value))
    return text if len(text) <= _LONGEST else f"digest {blake3.blake3(text.encode()).hexdigest()[:16]}"


def _snake(name: str) -> str:
    """A class's name as Keras makes layer names of it."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()
