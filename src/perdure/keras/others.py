"""The state of the other callbacks of a fit: early stopping with its best weights, plateaus, history, the user's own.

Keras's callbacks are known by name. Of any other callback, `state_dict` and `load_state_dict` are used where it has
them; else all its attributes that are numbers, text, arrays, and lists and dicts of these.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import blake3
import keras
import numpy as np

from perdure.errors import StateError, UsageError
from perdure.snapshot.parts import Part, flatten, put_into, unflatten

_KERAS = {  # what changes while training; `min_delta` and `monitor_op` are set up lazily and never restored
    "EarlyStopping": ("wait", "stopped_epoch", "best", "best_weights", "best_epoch"),
    "ReduceLROnPlateau": ("best", "cooldown_counter", "wait"),
    "ModelCheckpoint": (
        "best", "_batches_seen_since_last_saving", "_last_batch_seen", "_current_epoch",
    ),
    "OrbaxCheckpoint": (
        "best", "_batches_seen_since_last_saving", "_last_batch_seen", "_total_batches_seen", "_current_epoch",
    ),
    "History": ("epoch", "history"),
    "SwapEMAWeights": ("_ema_weights_in_model",),
    "TensorBoard": ("_global_train_batch", "_global_test_batch"),
}  # fmt: skip
_SETTINGS = {"model", "_model", "params", "validation_data", "min_delta", "monitor_op"}
_KEEPERS = (  # of variables
    keras.Variable, keras.random.SeedGenerator, keras.Layer, keras.metrics.Metric, keras.optimizers.Optimizer,
)  # fmt: skip
_HELD = "variables of a Keras object"
_LARGE = 1 << 20  # bytes: attributes above are taken for data as long as they do not change


@dataclass(slots=True)
class Others:
    """The callbacks beside Resume, in order; captured into and restored from one part."""

    callbacks: list[Any]
    tell: Callable[[str], None]
    data: dict[tuple[int, str], str] = field(default_factory=dict)  # large attributes -> digest at the start
    _told: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, callbacks: list[Any], tell: Callable[[str], None]) -> Others:
        """Look at them before anything is restored. Raises UsageError and StateError for what cannot be resumed."""
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.BackupAndRestore):
                raise UsageError(
                    "Resume stands in the place of BackupAndRestore; remove that callback from fit"
                )
        others = cls([c for c in callbacks if not isinstance(c, keras.callbacks.ProgbarLogger)], tell)
        for i, callback in enumerate(others.callbacks):
            if _is_generic(callback):
                others._look_at(i, callback)
        return others

    def _look_at(self, index: int, callback: Any) -> None:
        kind = type(callback).__name__
        for name, value in _attributes(callback).items():
            try:
                tensors, _ = flatten(_content(callback, value), owner=f"{kind}.{name}")
            except StateError:
                if isinstance(value, set | bytearray) or type(value).__name__ == "deque":
                    raise StateError(
                        f"the callback {kind} keeps a {type(value).__name__} in {name!r}, which cannot be captured; "
                        "use a list or dict, or give it state_dict() and load_state_dict()"
                    ) from None
                if not callable(value) and not _is_constant(value):
                    self.tell(
                        f"note: {kind}.{name} ({type(value).__name__}) is not captured; if it changes in training, "
                        f"give {kind} state_dict() and load_state_dict()"
                    )
                continue
            if sum(array.nbytes for array in tensors.values()) > _LARGE:
                self.data[index, name] = _digest(tensors)

    def check_data(self) -> None:
        """Raises StateError when a large attribute that was taken for data has changed since the start."""
        for (index, name), digest in self.data.items():
            callback = self.callbacks[index]
            tensors, _ = flatten(_content(callback, _attributes(callback)[name]), owner=name)
            if _digest(tensors) != digest:
                kind = type(callback).__name__
                raise StateError(
                    f"{kind}.{name} holds over 1 MB and changed in training; large attributes are taken for data "
                    f"and not saved: give {kind} state_dict() and load_state_dict()"
                )

    def part(self) -> Part:
        tensors: dict[str, np.ndarray] = {}
        documents: list[object] = []
        for i, callback in enumerate(self.callbacks):
            kind = type(callback).__name__
            arrays, document = flatten(self._state(i, callback), owner=f"the callback {kind}")
            tensors |= {f"{i:02d} {kind}/{name}": array for name, array in arrays.items()}
            documents.append([kind, document])
        return Part("callbacks", tensors, documents)

    def _state(self, index: int, callback: Any) -> object:
        if not _is_generic(callback):
            return {name: getattr(callback, name, None) for name in _KERAS.get(type(callback).__name__, ())}
        if hasattr(callback, "state_dict"):
            return callback.state_dict()
        return {
            name: content
            for name, value in _attributes(callback).items()
            if (index, name) not in self.data and _is_capturable(content := _content(callback, value))
        }

    def restore(self, tensors: Mapping[str, np.ndarray], document: Any) -> None:
        """Raises StateError when the callbacks are others than those that were saved."""
        saved, now = [kind for kind, _ in document], [type(c).__name__ for c in self.callbacks]
        if saved != now:
            raise StateError(
                f"fit was saved with the callbacks {', '.join(saved)} and has {', '.join(now)} now; pass the same "
                "ones in the same order, or compute it again with --redo"
            )
        for i, (callback, (kind, state)) in enumerate(zip(self.callbacks, document, strict=True)):
            prefix = f"{i:02d} {kind}/"
            arrays = {key[len(prefix) :]: a for key, a in tensors.items() if key.startswith(prefix)}
            values = unflatten(state, arrays)
            if _is_generic(callback) and hasattr(callback, "load_state_dict"):
                callback.load_state_dict(values)
                continue
            attributes = _attributes(callback) if _is_generic(callback) else {}
            for name, value in values.items():
                known = attributes.get(name)  # a list of the user's may be known elsewhere too
                if isinstance(value, dict) and _HELD in value:
                    self._assign(_variables_of(callback, known), known, value[_HELD], owner=f"{kind}.{name}")
                else:
                    setattr(callback, name, put_into(known, value))

    def _assign(self, held: list[Any], known: Any, arrays: list[np.ndarray], *, owner: str) -> None:
        """Raises StateError where the variables are others; what is made only when it is used is left as it is."""
        if not isinstance(known, _KEEPERS) or (isinstance(known, keras.metrics.Metric) and not held):
            if owner not in self._told:
                self.tell(
                    f"note: {owner} is not built yet and begins afresh; if it goes on, build it before fit"
                )
            self._told.add(owner)
            return
        saved, now = [array.shape for array in arrays], [tuple(variable.shape) for variable in held]
        if saved != now:
            raise StateError(
                f"{owner} was saved with variables of the shapes {saved} and has {now} now; make it the same way, "
                "and build it before fit"
            )
        for variable, array in zip(held, arrays, strict=True):
            variable.assign(array)


def _is_generic(callback: Any) -> bool:
    return not type(callback).__module__.startswith("keras.")


def _attributes(callback: Any) -> dict[str, Any]:
    """Its own, and the lists, dicts and arrays of its classes, which methods may fill as well."""
    kinds = [kind for kind in reversed(type(callback).__mro__) if not kind.__module__.startswith("keras.")]
    shared = {
        name: value
        for kind in kinds
        for name, value in vars(kind).items()
        if isinstance(value, list | dict | np.ndarray) and not name.startswith("__")
    }
    return {name: value for name, value in {**shared, **vars(callback)}.items() if name not in _SETTINGS}


def _variables_of(callback: Any, value: Any) -> list[Any]:
    """Variables of a Keras object that a callback keeps, such as a metric; but none of the model that is fitted."""
    if not isinstance(value, _KEEPERS):
        return []
    if isinstance(value, keras.Variable):
        found = [value]
    elif isinstance(value, keras.random.SeedGenerator):
        found = [value.state]
    else:
        found = [*value.variables, *getattr(getattr(value, "optimizer", None), "variables", ())]
    model = getattr(callback, "_model", None)
    if model is None:
        return found
    fitted = [*model.variables, *model.metrics_variables, *getattr(model.optimizer, "variables", ())]
    known = {id(variable) for variable in fitted}
    return [variable for variable in found if id(variable) not in known]


def _content(callback: Any, value: Any) -> Any:
    """What of an attribute is saved: of Keras objects the arrays of their variables."""
    if not (held := _variables_of(callback, value)):
        return value
    return {_HELD: [np.array(keras.ops.convert_to_numpy(variable.value)) for variable in held]}


def _is_constant(value: object) -> bool:
    """Things that training does not change: paths, loggers, modules, the model, the run."""
    module = type(value).__module__.partition(".")[0]
    return module in {"pathlib", "logging", "keras", "perdure", "re", "datetime"} or type(value).__name__ in {
        "module", "bytes", "complex",
    }  # fmt: skip


def _is_capturable(value: object) -> bool:
    try:
        flatten(value, owner="")
    except StateError:
        return False
    return True


def _digest(tensors: Mapping[str, np.ndarray]) -> str:
    hasher = blake3.blake3()
    for name in sorted(tensors):
        hasher.update(json.dumps([name, str(tensors[name].dtype), tensors[name].shape]).encode())
        hasher.update(np.ascontiguousarray(tensors[name]).tobytes())
    return hasher.hexdigest()
