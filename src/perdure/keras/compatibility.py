"""On which versions an exact resume was tested, and which of Keras's private names it leans on.

Keras has no public way to begin `fit` in the middle of an epoch. So the versions are checked before training starts,
and every private name is checked where it is used.
"""

from __future__ import annotations

import sys
from typing import Any

from perdure.errors import UsageError

KERAS = ((3, 15, 1), (3, 16))  # from, and below
BACKENDS = {"jax": (0, 10), "tensorflow": (2, 21), "torch": (2, 13)}  # the tested series of each

_OF_MODEL = ("_initial_epoch", "_symbolic_build", "optimizer", "metrics_variables", "stop_training")
_OF_ITERATOR = ("_num_batches", "steps_per_epoch", "data_adapter")


def check_versions(*, keras: str, backend: str, version: str) -> None:
    """Refuse what was not tested. Raises UsageError with the table."""
    lowest, above = KERAS
    if (
        backend in BACKENDS
        and lowest <= _numbers(keras) < above
        and _numbers(version)[:2] == BACKENDS[backend]
    ):
        return
    series = ", ".join(f"{name} {_text(numbers)}" for name, numbers in BACKENDS.items())
    raise UsageError(
        f"an exact resume was not tested with Keras {keras} on {backend} {version}; it was with Keras {_text(lowest)} "
        f"and later below {_text(above)}, on {series}. Install one of these; or pass Resume(..., untested=True) and "
        "see with `perdure prove` whether it holds"
    )


def check_installed() -> None:
    """Refuse the running Keras and its backend when they were not tested."""
    import keras

    backend = keras.backend.backend()
    module = sys.modules.get(backend)
    check_versions(
        keras=keras.__version__, backend=backend, version=getattr(module, "__version__", "unknown")
    )


def check_names(model: Any, iterator: Any) -> None:
    """Refuse a Keras that lacks a private name. Raises UsageError naming it."""
    import keras

    for owner, names in ((model, _OF_MODEL), (iterator, _OF_ITERATOR)):
        missing = [name for name in names if not hasattr(type(owner), name) and name not in vars(owner)]
        if missing:
            raise UsageError(
                f"Keras {keras.__version__} has no {type(owner).__name__}.{missing[0]}, which an exact resume needs; "
                f"use Keras {_text(KERAS[0])}"
            )


def check_distribution() -> None:
    """Refuse distribution strategies: none was tested."""
    import keras

    strategy = keras.distribution.distribution() is not None
    if (tensorflow := sys.modules.get("tensorflow")) is not None:
        strategy = strategy or tensorflow.distribute.has_strategy()
    if strategy:
        raise UsageError("an exact resume was not tested under a distribution strategy; train on one device")


def _numbers(version: str) -> tuple[int, ...]:
    plain = version.partition("+")[0]
    return tuple(int(part) for part in plain.split(".") if part.isdigit())


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(str(number) for number in numbers)
