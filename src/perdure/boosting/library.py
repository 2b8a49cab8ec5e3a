"""What a boosting library does for a fit: tell what it was given, train one chunk, join chunks into one model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from perdure.errors import UsageError
from perdure.snapshot.streams import seed_for

_KINDS = {"lightgbm": "Dataset", "xgboost": "DMatrix", "catboost": "Pool"}


@dataclass(frozen=True, slots=True)
class Scores:
    """Raw predictions so far for each row, shape (rows,) or (rows, classes); what the next chunk starts from."""

    train: np.ndarray
    valid: np.ndarray | None


@dataclass(frozen=True, slots=True)
class Metric:
    """One of the library's own metrics on the validation data."""

    value: float
    maximize: bool

    def beats(self, best: float | None) -> bool:
        """NaN beats nothing."""
        if best is None:
            return self.value == self.value
        return self.value > best if self.maximize else self.value < best


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk's trees in the library's own format, the scores with them, and metrics; the first one is judged."""

    model: bytes
    scores: Scores
    metrics: dict[str, Metric]


class Library(Protocol):
    """One library, with the parameters and the data of one fit."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> dict[str, object]:
        """All parameters that decide the result, as they are used."""
        ...

    def contents(self) -> dict[str, object]:
        """What the data hold, for a digest. Raises UsageError when that cannot be told."""
        ...

    def train(self, rounds: int, *, seed: int, done: int, scores: Scores | None) -> Chunk:
        """Train `rounds` more on top of `scores`, after `done` rounds."""
        ...

    def join(self, models: Sequence[bytes]) -> Any:
        """All chunks as one model."""
        ...

    def let_go(self) -> None:
        """Give the user's data back as they came."""
        ...


def library_of(params: Mapping[str, Any], data: Any, valid: Any) -> Library:
    """The library whose data set `data` is. Raises UsageError for other data, and for what cannot go in chunks."""
    name = _name_of(data)
    if name is None:
        raise UsageError(
            f"boosting.train got data of type {type(data).__name__}; give a lightgbm.Dataset, an xgboost.DMatrix or a "
            "catboost.Pool (`pip install 'perdure[boosting]'` installs these libraries)"
        )
    if valid is not None and _name_of(valid) != name:
        raise UsageError(f"valid= is a {type(valid).__name__}; give a {name}.{_KINDS[name]}, as data is")
    if name == "lightgbm":
        from perdure.boosting.lightgbm import LightGBM

        return LightGBM(dict(params), data, valid)
    if name == "xgboost":
        from perdure.boosting.xgboost import XGBoost

        return XGBoost(dict(params), data, valid)
    from perdure.boosting.catboost import CatBoost

    return CatBoost(dict(params), data, valid)


def _name_of(data: object) -> str | None:
    for kind in type(data).__mro__:
        library = kind.__module__.partition(".")[0]
        if _KINDS.get(library) == kind.__name__:
            return library
    return None


def refuse(params: Mapping[str, Any], reasons: Mapping[tuple[str, ...], str]) -> None:
    """Raise UsageError for the first parameter that is among `reasons`, or that is a function."""
    for names, reason in reasons.items():
        for name in names:
            if name in params:
                raise UsageError(f"boosting.train: the parameter {name}={params[name]!r} {reason}")
    for name, value in params.items():
        if callable(value):
            raise UsageError(
                f"boosting.train: the parameter {name} is a function; a chunk can go on from scores only with one of "
                "the library's own objectives and metrics: name one"
            )


def refuse_values(params: Mapping[str, Any], names: Iterable[str], allowed: set[str], reason: str) -> None:
    """Raise UsageError when a parameter under one of `names` has a value that is not among `allowed`."""
    for name in names:
        if name in params and str(params[name]).lower() not in allowed:
            raise UsageError(f"boosting.train: {name}={params[name]!r} {reason}")


def with_threads(params: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The same with a fixed number of threads: another number gives other last bits."""
    if any(name in params for name in names):
        return params
    affinity = getattr(os, "sched_getaffinity", None)
    return params | {names[0]: len(affinity(0)) if affinity else os.cpu_count() or 1}


def derived(seed: int, name: str, given: object) -> int:
    """A seed of 31 bits for one of a library's random streams; what the user gave for it takes part."""
    return seed_for(seed, name, given) & 0x7FFFFFFF
