"""The package with one thing that keeps it safe taken out, and the sweep that must notice.

A sweep that passes with these would prove nothing.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sweeps import calls, damage, limits, recording, replay
from sweeps.damage import REGION, Damage
from sweeps.ledger import Sweep
from sweeps.subject import Subject

Item = TypeVar("Item")
Killer = Callable[[Subject, Sweep], None]
ENOUGH = 400  # states to try before a mutant counts as unnoticed


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one module, the sweep that must fail with it, and on which subject."""

    what: str
    module: str
    before: str
    after: str
    sweep: Killer
    subject: str = "raw"

    def make(self, source: Path, place: Path) -> Path:
        """A copy of `source` with the change. Raises ValueError where the module is not as it was any more."""
        copy = Path(shutil.copytree(source, place / "src"))
        path = copy / "perdure" / self.module
        text = path.read_text()
        if text.count(self.before) != 1:
            raise ValueError(
                f"{self.module} has {self.before!r} {text.count(self.before)} times; change this mutant"
            )
        path.write_text(text.replace(self.before, self.after))
        return copy


def _until_noticed(sweep: Sweep, items: Iterable[Item], attempt: Callable[[Item], None]) -> None:
    """Try states in a fixed random order until one fails."""
    order = list(items)
    random.Random(1).shuffle(order)
    for item in order[: int(os.environ.get("SWEEP_MUTANT_STATES", ENOUGH))]:
        attempt(item)
        if sweep.failures:
            return


def power_cut(subject: Subject, sweep: Sweep) -> None:
    states = replay.cuts(recording.record(subject))
    _until_noticed(sweep, states, lambda cut: replay.resumed(subject, sweep, [cut]))


def killed(subject: Subject, sweep: Sweep) -> None:
    points = range(1, subject.calls + 1)
    _until_noticed(sweep, points, lambda point: calls.killed(subject, sweep, [point]))


def disk_full(subject: Subject, sweep: Sweep) -> None:
    points = range(1, subject.calls + 1)
    _until_noticed(sweep, points, lambda at: calls.failed(subject, sweep, [at], errno.ENOSPC, lasting=False))


def damaged(file: str, *, state: str = "stopped", near: bytes = b"") -> Killer:
    """Damage to the files whose name has `file` in it; with `near` to bits that are close to these bytes."""

    def is_near(one: Damage, content: bytes) -> bool:
        return one.place is not None and near in content[max(0, one.place - REGION) : one.place + REGION]

    def sweep_damage(subject: Subject, sweep: Sweep) -> None:
        run, older = subject.scratch / "damaged", subject.scratch / "older"
        damage.MADE[state](subject, run, older)
        (run / "run.db.sha256").unlink(missing_ok=True)  # as after a kill: each check is tried on its own
        some = [one for one in damage.damages(run, older, sampled=None) if file in one.file]
        if near:
            some = [one for one in some if is_near(one, (run / one.file).read_bytes())]
        _until_noticed(sweep, some, lambda one: damage.answered(subject, sweep, run, [one]))

    return sweep_damage


def crowd(subject: Subject, sweep: Sweep) -> None:
    limits.crowd(sweep, subject.scratch / "crowd", 4, subject.source, patience=20)


MUTANTS = (
    Mutant(
        "a file is not synced before it gets its name",
        "files.py",
        "        sync(descriptor)\n",
        "",
        power_cut,
    ),
    Mutant(
        "a folder is not synced after a file got its name",
        "files.py",
        "        sync_folder(path.parent)\n    except BaseException",
        "    except BaseException",
        power_cut,
    ),
    Mutant(
        "a new folder is not synced",
        "files.py",
        "            sync_folder(parent.parent)\n",
        "",
        power_cut,
    ),
    Mutant(
        "the system's errors are not explained",
        "files.py",
        "            raise storage_error(error, path) from error\n        raise\n",
        "            raise\n        raise\n",
        disk_full,
    ),
    Mutant("commits are not synced", "store/database.py", '"synchronous": 2', '"synchronous": 1', power_cut),
    Mutant(
        "no write-ahead log",
        "store/database.py",
        '"journal_mode": "wal"',
        '"journal_mode": "delete"',
        power_cut,
    ),
    Mutant(
        "the lock is not taken",
        "store/lock.py",
        "fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        crowd,
    ),
    Mutant(
        "a damaged database is opened as it is",
        "store/schema.py",
        "    if not is_sound(path):\n        return False\n    reader = Reader(path)\n",
        "    return True\n    reader = Reader(path)\n",
        damaged("run.db"),
    ),
    Mutant(
        "a snapshot is not compared with its digest",
        "snapshot/recovery.py",
        "return files.digest(path) == generation.sha256",
        "return True",
        damaged("snapshots/"),
    ),
    Mutant(
        "no falling back to the generation before",
        "snapshot/recovery.py",
        "        notes += _skip_damaged(store, loop)\n",
        "",
        damaged("snapshots/"),
    ),
    Mutant(
        "a snapshot that was not committed is taken unread",
        "snapshot/recovery.py",
        " or _differs(header, arrays)",
        "",
        damaged("snapshots/", state="unrecorded"),
    ),
    Mutant(
        "what came after the snapshot is not taken back",
        "snapshot/recovery.py",
        "        _rewind(store, loop)\n",
        "",
        damaged("snapshots/"),
    ),
    Mutant(
        "half-written files are left",
        "snapshot/recovery.py",
        "    _remove_strays(store)\n    return",
        "    return",
        killed,
    ),
    Mutant(
        "a history is not compared with its digest",
        "snapshot/track.py",
        "        self._check_history(self.newest)\n",
        "        self._history = self.newest.parts['history']\n",
        damaged("run.db", near=b'"loss"'),
    ),
    Mutant(
        "a result is not compared with its digest",
        "phase.py",
        "if hashlib.sha256(document.encode()).hexdigest() != unit.digest:",
        "if False:",
        damaged("run.db", near=b'"npy"'),
    ),
    Mutant(
        "a result's file is not compared with its digest",
        "store/blobs.py",
        "        if files.digest(path) != digest:\n",
        "        if False:\n",
        damaged("blobs/", state="killed", near=b"NUMPY"),
        "units",
    ),
)
