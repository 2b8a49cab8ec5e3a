"""A small run with everything that a run's folder can hold, kept at moments of its life, and what happens to files."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perdure
from perdure import mapping
from perdure.executors import Call, Outcome
from perdure.snapshot import streams
from perdure.store.database import Reader
from perdure.store.digest import digests

MOMENTS = ("old", "stopped", "completed")
KEYS = ("a", "b", "c")


def table(rows: int) -> np.ndarray:
    return np.random.rand(rows, 4000)  # large enough to be a file of its own


def sample(key: str) -> list[dict[str, object]]:
    return [{"name": key, "value": float(np.random.rand())} for _ in range(3)]


def work(folder: Path, *, moment: Callable[[str], None] = lambda name: None) -> dict[str, Any]:
    """The whole run; `moment` is called where a copy of its folder is of use. Returns its digest by phase."""
    run = perdure.open(folder, seed=3, budget=None)
    try:
        _phases(run, moment)
    except BaseException as error:
        run.__exit__(type(error), error, None)
        raise
    run.close()
    return digest(folder)


def _phases(run: perdure.Run, moment: Callable[[str], None]) -> None:
    matrix = run.step("table", table, 2, version="1")
    run.map("samples", KEYS, sample, workers=1, into="samples", data=True, version="1")
    for unit in run.each("models", KEYS, version="1"):
        weights = np.zeros(3)
        for _ in run.range("round", 2, state={"weights": weights}, version="1"):
            weights += np.random.rand(3) + matrix[0, :3]
            run.log(mean=float(weights.mean()))
        run.insert("fits", [{"key": unit.key, "mean": float(weights.mean())}])
        unit.result = {"weights": weights, "rest": np.random.rand(8000)}
    w = np.zeros(4)
    for epoch in run.range("epoch", 5, state={"w": w}, best="max:mean", version="1"):
        w += np.random.rand(4)
        run.log(mean=float(w.mean()))
        run.insert("seen", [{"epoch": epoch, "text": f"e{epoch}"}])
        assert run._attempt._writer is not None
        run._attempt._writer.settle()  # nothing comes and goes while the folder is copied
        if epoch in (1, 3):
            moment("old" if epoch == 1 else "stopped")
    for _ in run.range("once", 1, state={"w": w}, version="1"):
        w += np.random.rand(4)
    run.export("results.json", json.dumps({"w": w.tolist()}).encode())


def digest(folder: Path) -> dict[str, Any]:
    reader = Reader(folder / "run.db")
    try:
        found: dict[str, Any] = {line.path: (line.state, line.parts) for line in digests(reader)}
    finally:
        reader.close()
    exported = (folder / "exports" / "results.json").read_bytes()
    return found | {"exports": hashlib.sha256(exported).hexdigest()}


class InlinePool:
    """Runs units where it is: what they give does not depend on the process, and no process has to start."""

    def __init__(self, function: Callable[[str, object], object], **_: object) -> None:
        self._function, self._outcomes, self.running = function, list[Outcome](), ()

    def submit(self, call: Call) -> None:
        with streams.unit(0):  # a process of its own would leave the streams of this one alone
            value = self._function(call.key, call.argument)
        self._outcomes.append(Outcome(call.key, value, None, "", 0.0, True))

    def wait(self, timeout: float) -> Iterator[Outcome]:
        while self._outcomes:
            yield self._outcomes.pop(0)

    def close(self) -> None:
        """There is nothing to end."""


def inline_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "ProcessPool", InlinePool)


def life(place: Path) -> dict[str, Any]:
    """Copies of one run's folder at each of MOMENTS, under `place`; returns its digest."""

    def copy(name: str) -> None:
        shutil.copytree(place / "run", place / name)

    expected = work(place / "run", moment=copy)
    (place / "run").rename(place / "completed")
    _complete_in_itself(place / "old" / "run.db")
    return expected


def _complete_in_itself(path: Path) -> None:
    """As somebody's copy of a database is who closed it first: without its log, which stays beside it."""
    log, kept = path.with_name("run.db-wal"), path.with_name("kept")
    shutil.copy(log, kept)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    kept.rename(log)


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# -- what happens to files -------------------------------------------------------------------------------------------


def flipped(path: Path, older: Path) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[len(content) * 2 // 3] ^= 0x10
    path.write_bytes(content)


def emptied(path: Path, older: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path, older: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def deleted(path: Path, older: Path) -> None:
    path.unlink()


def swapped(path: Path, older: Path) -> None:
    """Put an older copy there: of the file as it was, or of the oldest of its kind beside it."""
    if older.exists() and older.read_bytes() != path.read_bytes():
        shutil.copy(older, path)
        return
    neighbours = [p for p in path.parent.iterdir() if p.is_file() and p.suffix == path.suffix and p != path]
    for neighbour in sorted(neighbours)[:1]:
        shutil.copy(neighbour, path)


DAMAGE: Mapping[str, Callable[[Path, Path], None]] = {
    one.__name__: one for one in (flipped, emptied, truncated, deleted, swapped)
}
