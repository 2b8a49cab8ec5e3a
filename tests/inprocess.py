"""Runs inside the test's own process: fast, and with a simulated sudden death."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import perdure
from perdure.clock import SystemClock
from perdure.errors import PerdureError
from perdure.snapshot.parts import Part, sources_of
from perdure.snapshot.policy import AnyOf, Budget, EachIteration
from perdure.snapshot.track import Track
from perdure.snapshot.writer import Writer
from perdure.store import Store
from perdure.store.generations import Cursor
from perdure.testing import FakeClock as FakeClock


def die(run: perdure.Run) -> None:
    """Let go of a run as a killed process does: nothing more is recorded."""
    attempt = run._attempt
    attempt._left = True
    if attempt._writer is not None:
        attempt._writer.close()
    run._session.signals.restore()
    run._session.console.close()
    run._store.close()


@contextmanager
def killed(folder: Path, **options: Any) -> Iterator[perdure.Run]:
    """An attempt whose process dies at the end of the block, or by whatever the block raises."""
    run = perdure.open(folder, **({"budget": None} | options))
    try:
        yield run
    except (PerdureError, Dead):
        pass
    finally:
        die(run)


class Dead(BaseException):
    """The moment of a simulated death."""


def settings(monkeypatch: Any, **values: str) -> None:
    for name, value in values.items():
        monkeypatch.setenv(f"PERDURE_{name}", value)


@contextmanager
def store_at(folder: Path, *, clock: Any = None) -> Iterator[Store]:
    store = Store.open(folder, clock=clock or SystemClock(), command=["test"])
    try:
        yield store
    finally:
        store.close()


class Tracked:
    """A track of its own store, without a loop around it."""

    def __init__(
        self, store: Store, state: Mapping[str, object], *, share: float | None = None, keep: int = 2
    ):
        self.budget = Budget(store.clock, share)
        self.writer = Writer(pulse=lambda: None)
        self.sources = sources_of(state)
        store_settings(store)
        self.track = Track(store, self.writer, self.budget, AnyOf((EachIteration(),)), "epoch", "code", keep)

    def parts(self) -> list[Part]:
        said = Part("loop", {}, {"stopped": False, "metric": None})
        return [*(Part(name, *source.capture()) for name, source in self.sources.items()), said]

    def save(self, position: int, *, final: bool = False) -> None:
        self.track.save(Cursor(position), self.parts, final=final, wait=True)
        self.writer.submit(lambda: None)  # behind what is tidied up after a save
        self.writer.wait()


def store_settings(store: Store) -> None:
    with store.transaction():
        store.set_meta("settings", {"seed": 0, "config": {}})
        if store.units.phase("epoch") is None:
            store.units.start_phase("epoch", kind="range", total=9, fingerprint={})


def train(
    folder: Path,
    epochs: int = 4,
    *,
    state: dict[str, Any] | None = None,
    stop_after: int | None = None,
    drift: float = 0.0,
    **options: Any,
) -> np.ndarray:
    """A loop over NumPy noise; with `stop_after` its process dies in the middle of that iteration."""
    weights = np.zeros(4)
    run = perdure.open(folder, seed=3, budget=None, **options)
    try:
        for epoch in run.range(
            "epoch", epochs, state=state if state is not None else {"w": weights}, version="1"
        ):
            weights += np.random.rand(4) + drift
            run.log(mean=float(weights.mean()))
            run.insert("seen", [{"epoch": epoch, "text": f"e{epoch}"}])
            if epoch == stop_after:
                run._attempt.drain()
                raise Dead
    except Dead:
        die(run)
        return weights
    except BaseException as error:
        run.__exit__(type(error), error, None)
        raise
    run.close()
    return weights
