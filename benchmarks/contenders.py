"""Ways to save one state: each says how long the training thread waited, and how long until it was on disk.

What a tool does not sync itself is synced here before it counts as durable, so that all mean the same.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

State = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds that the training thread waits, and until the state is durable."""

    stall: float
    durable: float


class Contender(Protocol):
    """Saves its state again and again, each time into a new place."""

    def __call__(self, number: int) -> Sample: ...


def keras_like(megabytes: float) -> State:
    """62 arrays as ten dense layers under Adam have them: float32 weights, two moments each, two scalars."""
    width = round((megabytes * 1e6 / (10 * 3 * 4)) ** 0.5)
    random = np.random.default_rng(0)
    state: State = {"iteration": np.array(1000), "learning_rate": np.array(0.001, np.float32)}
    for layer in range(10):
        for kind in ("weight", "momentum", "velocity"):
            state[f"{layer}/{kind}/kernel"] = random.standard_normal((width, width), np.float32)
            state[f"{layer}/{kind}/bias"] = random.standard_normal(width, np.float32)
    return state


def copying(state: State) -> Contender:
    """The floor of a stall: one copy into memory that is there already."""
    spare = {name: array.copy() for name, array in state.items()}

    def save(number: int) -> Sample:
        began = time.perf_counter()
        for name, array in state.items():
            np.copyto(spare[name], array)
        return Sample(time.perf_counter() - began, float("nan"))

    return save


def writing(state: State, folder: Path) -> Contender:
    """The floor of durability: the bare bytes, written and synced."""
    content = memoryview(np.concatenate([array.reshape(-1).view(np.uint8) for array in state.values()]))
    path = folder / "bytes"

    def save(number: int) -> Sample:
        path.unlink(missing_ok=True)
        began = time.perf_counter()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        written = 0
        while written < len(content):
            written += os.write(descriptor, content[written : written + (8 << 20)])
        os.fdatasync(descriptor)
        os.close(descriptor)
        taken = time.perf_counter() - began
        return Sample(taken, taken)

    return save


def inline(folder: Path, save_to: Callable[[Path], object]) -> Contender:
    """A function that writes a file (or a folder) and returns when it has."""

    def save(number: int) -> Sample:
        path = _fresh(folder)
        began = time.perf_counter()
        save_to(path)
        stall = time.perf_counter() - began
        _sync_all(path)
        return Sample(stall, time.perf_counter() - began)

    return save


def deferred(folder: Path, begin: Callable[[Path], Callable[[], object]]) -> Contender:
    """A function that begins to save and returns what waits for the end."""

    def save(number: int) -> Sample:
        path = _fresh(folder)
        began = time.perf_counter()
        wait = begin(path)
        stall = time.perf_counter() - began
        wait()
        _sync_all(path)
        return Sample(stall, time.perf_counter() - began)

    return save


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder / "state"


def _sync_all(path: Path) -> None:
    found = list(path.parent.rglob("*"))  # a library may add a suffix to the name that it was given
    for one in [*(f for f in found if f.is_file()), *(f for f in found if f.is_dir()), path.parent]:
        descriptor = os.open(one, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def savez_compressed(state: State, folder: Path) -> Contender:
    return inline(folder, lambda path: np.savez_compressed(path, **state))


def torch_save(state: State, folder: Path) -> Contender:
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    return inline(folder, lambda path: torch.save(tensors, path))


def torch_dcp(state: State, folder: Path) -> Contender:
    import torch
    from torch.distributed import checkpoint

    tensors = {name: torch.from_numpy(array) for name, array in state.items()}

    def begin(path: Path) -> Callable[[], object]:
        saving: Any = checkpoint.async_save(tensors, checkpoint_id=str(path), no_dist=True)
        return saving.result

    return deferred(folder, begin)


def safetensors(state: State, folder: Path) -> Contender:
    from safetensors.numpy import save_file

    return inline(folder, lambda path: save_file(state, path))


def orbax(state: State, folder: Path) -> Contender:
    from orbax import checkpoint

    checkpointer = checkpoint.AsyncCheckpointer(checkpoint.StandardCheckpointHandler())

    def begin(path: Path) -> Callable[[], object]:
        checkpointer.save(path.absolute(), args=checkpoint.args.StandardSave(state))
        return checkpointer.wait_until_finished

    return deferred(folder, begin)


def keras_model(state: State, folder: Path) -> Contender:
    """The same 62 arrays, as Keras has them in a model, and writes them into a `.keras` file."""
    import keras

    width = len(state["0/weight/bias"])
    model = keras.Sequential([keras.Input((width,)), *(keras.layers.Dense(width) for _ in range(10))])
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    return inline(folder, lambda path: model.save(path.with_suffix(".keras")))


def perdure_loop(state: State, folder: Path, ends: ExitStack) -> Contender:
    """A real loop of a real run: the stall is all that asking for the next iteration takes."""
    import perdure

    run = ends.enter_context(perdure.open(folder.absolute(), budget=None))
    loop = run.range("save", 1_000_000, state={"net": state})
    positions, writer = iter(loop), loop.track.writer
    next(positions)

    def save(number: int) -> Sample:
        began = time.perf_counter()
        next(positions)
        stall = time.perf_counter() - began
        writer.wait()
        durable = time.perf_counter() - began
        writer.submit(lambda: None)  # begins when the removal of the snapshot before last has ended
        writer.wait()
        return Sample(stall, durable)

    return save
