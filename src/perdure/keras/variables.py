"""A model's variables as parts of a snapshot, and back.

Views of the backend's own memory are handed to the track, which copies them into staging memory and drops them: a
view that lived on would keep JAX from reusing its buffers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from perdure.errors import ChangedError, StateError
from perdure.keras.architecture import Names, layers_of
from perdure.snapshot.parts import Part, flatten, unflatten

GROUPS = ("weights", "optimizer", "metrics")


@dataclass(slots=True)
class Variables:
    """All variables of one model that training changes: by group, under names that do not depend on the process."""

    model: Any
    names: Names
    backend: str
    optimizers: list[Any]
    idle: list[Any]  # of models within this one, not built: nobody has trained with them
    _known: dict[str, tuple[int, list[str]]] = field(
        default_factory=dict
    )  # by group: how many, and their keys

    @classmethod
    def of(cls, model: Any) -> Variables:
        own = _optimizers([model])
        found = _optimizers(layers_of(model))
        idle = [one for one in found if not one.built]
        for optimizer in idle:
            if any(optimizer is one for one in own):
                raise _unbuilt(optimizer, model)
        built = [one for one in found if one.built]
        return cls(model, Names.of(model), keras.backend.backend(), built, idle)

    def group(self, name: str) -> list[Any]:
        """Keras variables of a group: all of the model (seed generators too), of its optimizers, of its metrics."""
        if name == "weights":
            return list(self.model.variables)
        if name == "optimizer":
            for optimizer in self.idle:
                if optimizer.built:
                    raise _unbuilt(optimizer, self.model)
            return [variable for optimizer in self.optimizers for variable in optimizer.variables]
        return list(self.model.metrics_variables)

    def part(self, name: str) -> Part:
        """One group as views; on JAX the caller has synchronised the model."""
        variables = self.group(name)
        keys = self._keys(name, variables)
        arrays = {key: self._view(v.value) for key, v in zip(keys, variables, strict=True)}
        return Part(name, arrays, keys)

    def copy(self, name: str) -> dict[str, np.ndarray]:
        """One group in memory of its own."""
        return {key: np.array(array) for key, array in self.part(name).tensors.items()}

    def settle(self) -> None:
        """Wait for the device and put the state of the running step into the variables."""
        if self.backend == "jax":
            import jax

            self.model.jax_state_sync()
            jax.block_until_ready([variable.value for variable in self.group("weights")])

    def restore(
        self,
        name: str,
        arrays: Mapping[str, np.ndarray],
        keys: Sequence[str],
        *,
        only: Sequence[Any] | None = None,
    ) -> None:
        """Assign saved arrays (`keys` in order) to the group's variables, or to those of it in `only`.

        Raises ChangedError naming the first that is missing, new, or of another shape or type.
        """
        variables = self.group(name)
        self._check(name, arrays, keys, variables)
        wanted = None if only is None else {id(variable) for variable in only}
        for key, variable in zip(keys, variables, strict=True):
            if wanted is None or id(variable) in wanted:
                variable.assign(np.array(arrays[key]))

    def _check(
        self, name: str, arrays: Mapping[str, np.ndarray], keys: Sequence[str], variables: Sequence[Any]
    ) -> None:
        saved = [f"{key} {arrays[key].dtype}{list(arrays[key].shape)}" for key in keys]
        now = [
            f"{key} {self._view(v.value).dtype}{list(v.shape)}"
            for key, v in zip(self._keys(name, variables), variables, strict=True)
        ]
        if saved == now:
            return
        gone, new = [one for one in saved if one not in now], [one for one in now if one not in saved]
        lines = [f"{name}: {one} was saved and is not in the model" for one in gone]
        lines += [f"{name}: {one} is in the model and was not saved" for one in new]
        raise ChangedError(
            f"the snapshot does not fit the model {self.model.name!r}:\n  - "
            + "\n  - ".join(lines[:20])
            + "\nRestore the model; changes of its variables cannot be accepted, only computed again with --redo",
            lines,
        )

    def _keys(self, name: str, variables: Sequence[Any]) -> list[str]:
        known = self._known.get(name)
        if known is not None and known[0] == len(variables):
            return known[1]
        label = self.names.of_optimizer_variable if name == "optimizer" else self.names.of_variable
        keys = [f"{i:03d} {label(variable.path)}" for i, variable in enumerate(variables)]
        self._known[name] = len(variables), keys
        return keys

    def _view(self, value: Any) -> np.ndarray:
        if self.backend == "torch":
            return _torch_view(value)
        if self.backend == "tensorflow":
            return _tensorflow_view(value)
        return np.asarray(value)


def _unbuilt(optimizer: Any, model: Any) -> StateError:
    return StateError(
        f"the optimizer {optimizer.name!r} of the model {model.name!r} was not built before fit, so that its variables "
        "cannot be restored; call its build(variables) before fit"
    )


def _optimizers(owners: Sequence[Any]) -> list[Any]:
    """Those that models were compiled with, and further ones that a custom `train_step` keeps."""
    found: dict[int, Any] = {}
    for owner in owners:
        first = [owner.optimizer] if getattr(owner, "optimizer", None) is not None else []
        others = [leaf for name, value in sorted(vars(owner).items()) for leaf in _items(name, value)]
        for value in [*first, *others]:
            if isinstance(value, keras.optimizers.Optimizer):
                found.setdefault(id(value), value)
    return list(found.values())


def _items(name: str, value: Any) -> list[Any]:
    """An attribute, or what is in one that is a list or a dict; of private ones, which Keras has many of, no lists."""
    if name.startswith("_"):
        return [value] if isinstance(value, keras.optimizers.Optimizer) else []
    if isinstance(value, Mapping):
        return list(value.values())
    return list(value) if isinstance(value, list | tuple) else [value]


_PASSING = {  # what Keras and PyTorch set for themselves while they train
    "training", "built", "stop_training", "_called", "_path", "_parent_path", "_initial_epoch", "_jax_state",
    "_jax_state_synced",
}  # fmt: skip


@dataclass(slots=True)
class Attributes:
    """What training may change in a model beside its Keras variables.

    numbers, text:  of the model, its layers and optimizers (a dropout rate, `trainable`, a counter), where each step
                    runs eagerly. A compiled step holds the values of the moment when it was traced, and is traced anew.
    others:         buffers of PyTorch modules, TensorFlow's own variables, and what has `state_dict` and
                    `load_state_dict`, such as PyTorch's optimizers.
    """

    owners: dict[str, Any]
    eager: bool
    model: Any
    first: dict[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, variables: Variables) -> Attributes:
        model, aliases = variables.model, variables.names.aliases
        layers = {f"{i:02d} {aliases.get(o.name, o.name)}": o for i, o in enumerate(layers_of(model))}
        optimizers = {f"optimizer {i:02d}": o for i, o in enumerate(variables.optimizers)}
        torch = keras.backend.backend() == "torch"
        found = cls(layers | optimizers, model.run_eagerly or (torch and not model.jit_compile), model)
        found.first = found._numbers()
        return found

    def part(self) -> Part | None:
        """None where nothing is there and nothing has changed since `fit` began."""
        numbers = {k: v for k, v in self._numbers().items() if k not in self.first or self.first[k] != v}
        contents = {name: content for name, (content, _) in self._others().items()}
        if not numbers and not contents:
            return None
        tensors, document = flatten({"numbers": numbers, "others": contents}, owner=self.model.name)
        return Part("attributes", tensors, document)

    def restore(self, arrays: Mapping[str, np.ndarray], document: Any) -> None:
        """`document` is None where no part was saved."""
        saved = {"numbers": {}, "others": {}} if document is None else unflatten(document, arrays)
        for key, value in (self.first | saved["numbers"]).items():  # outermost first: `trainable` goes inward
            label, _, name = key.rpartition(".")
            owner = self.owners[label]
            now = vars(owner).get(name, self)
            if type(now) is not type(value) or now != value:
                setattr(owner, "trainable" if name == "_trainable" else name, value)
        others = self._others()
        for key, content in saved["others"].items():
            if key not in others:
                raise ChangedError(f"{key} was saved and is not in the model; restore it", [key])
            others[key][1](content)

    def _numbers(self) -> dict[str, object]:
        return {
            f"{label}.{name}": value
            for label, owner in (self.owners.items() if self.eager else ())
            for name, value in vars(owner).items()
            if name not in _PASSING and (value is None or type(value) in {bool, int, float, str})
        }

    def _others(self) -> dict[str, tuple[object, Callable[[Any], object]]]:
        """By name: the content, and what puts it back."""
        found: dict[str, tuple[object, Callable[[Any], object]]] = {}
        for label, owner in self.owners.items():
            for name, value in vars(owner).items():
                library = type(value).__module__.partition(".")[0]
                if library == "tensorflow" and hasattr(value, "assign") and hasattr(value, "numpy"):
                    found[f"{label}.{name}"] = np.array(value.numpy()), value.assign
                elif isinstance(value, type) or hasattr(value, "named_buffers"):
                    continue
                elif hasattr(value, "load_state_dict"):
                    found[f"{label}.{name}"] = value.state_dict(), value.load_state_dict
        if keras.backend.backend() == "torch":  # each layer names those within it, so that some come twice
            owners = [owner for owner in self.owners.values() if isinstance(owner, keras.Layer)]
            buffers = {id(buffer): buffer for owner in owners for _, buffer in owner.named_buffers()}
            found |= {f"buffer {i:03d}": (b, b.copy_) for i, b in enumerate(buffers.values())}
        return found


def _torch_view(value: Any) -> np.ndarray:
    tensor = value.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        import ml_dtypes

        return tensor.view(sys.modules["torch"].int16).numpy().view(ml_dtypes.bfloat16)  # type: ignore[no-any-return]
    return tensor.numpy()  # type: ignore[no-any-return]


def _tensorflow_view(value: Any) -> np.ndarray:
    tensor = value.value() if callable(getattr(value, "value", None)) else value
    try:
        return np.from_dlpack(tensor)  # without a copy
    except (TypeError, BufferError, RuntimeError, ValueError):
        return tensor.numpy()  # type: ignore[no-any-return]  # types that DLPack or NumPy does not have


def global_seed_state() -> Any:
    """The variable of Keras's global seed generator, or None where nothing has drawn from it yet."""
    from keras.src.backend.common import global_state
    from keras.src.random import seed_generator

    generator = global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)
    return None if generator is None else generator.state


def restore_global_seed(array: np.ndarray) -> None:
    """Put the global seed generator where it was; it is made when there is none yet."""
    from keras.src.random import seed_generator

    seed_generator.global_seed_generator().state.assign(np.array(array))
