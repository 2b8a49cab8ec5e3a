"""A model's variables as parts of a snapshot, and back.

Views of the backend's own memory are handed to the track, which copies them into staging memory and drops them: a
view that lived on would keep JAX from reusing its buffers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from perdure.errors import ChangedError, StateError
from perdure.keras.architecture import Names
from perdure.snapshot.parts import Part

GROUPS = ("weights", "optimizer", "metrics")


@dataclass(slots=True)
class Variables:
    """All variables of one model that training changes: by group, under names that do not depend on the process."""

    model: Any
    names: Names
    backend: str
    _known: dict[str, tuple[int, list[str]]] = field(
        default_factory=dict
    )  # by group: how many, and their keys

    @classmethod
    def of(cls, model: Any) -> Variables:
        for optimizer in _optimizers(model):
            if not optimizer.built:
                raise StateError(
                    f"the optimizer {optimizer.name!r} of the model {model.name!r} is not built yet, so that its "
                    "variables cannot be restored; call its build(variables) before fit"
                )
        return cls(model, Names.of(model), keras.backend.backend())

    def group(self, name: str) -> list[Any]:
        """Keras variables of a group: all of the model (seed generators too), of its optimizers, of its metrics."""
        if name == "weights":
            return list(self.model.variables)
        if name == "optimizer":
            return [variable for optimizer in _optimizers(self.model) for variable in optimizer.variables]
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


def _optimizers(model: Any) -> list[Any]:
    """The compiled optimizer, and further ones that a custom `train_step` keeps as attributes."""
    first = [model.optimizer] if getattr(model, "optimizer", None) is not None else []
    kind = keras.optimizers.Optimizer
    others = [value for _, value in sorted(vars(model).items()) if isinstance(value, kind)]
    return first + [optimizer for optimizer in others if all(optimizer is not one for one in first)]


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
