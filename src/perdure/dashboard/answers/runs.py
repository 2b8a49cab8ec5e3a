"""The runs of a folder: which there are, how they stand, and how to tell cheaply that one has changed."""

from __future__ import annotations

import math
import os
import sqlite3
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perdure.errors import FormatError, PerdureError, StorageError
from perdure.overview import Overview, PhaseState, overview
from perdure.reading import is_run, reading
from perdure.store.database import DATABASE, Reader
from perdure.store.lock import read_holder

# What reading a damaged database may end with: rows that make no sense fail where they are used.
PROBLEMS = (
    PerdureError, sqlite3.Error, OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    RecursionError,
)  # fmt: skip
_HEADER = 48  # bytes: the first copy of the write-ahead log's index header, which every commit changes
Mark = tuple[object, ...]


class UnknownRunError(PerdureError):
    """The folder has no run of that name."""


def id_of(name: str) -> str:
    """A run's name as an id of letters, digits and `_.-~`: it means the same, however often an address is quoted."""
    return urllib.parse.quote_from_bytes(os.fsencode(name), safe="").replace("~", "%7E").replace("%", "~")


def name_of(run: str) -> str:
    """What `id_of` was given."""
    return os.fsdecode(urllib.parse.unquote_to_bytes(run.replace("~", "%")))


@dataclass(frozen=True, slots=True)
class Seen:
    """A run at one moment, or what is wrong with it."""

    place: Path
    overview: Overview
    seq: int = 0  # of the newest entry of the journal
    command: str | None = None  # of the last attempt, without secrets: what a retry repeats
    phase: str | None = None  # the first that began and is not through
    progress: float | None = None  # share of the run that is done, 0 to 1
    message: str | None = None


@dataclass(slots=True)
class Runs:
    """The runs under `folder`; of these only `only`, where one is named.

    What was read of a run is kept until its mark changes, so that many runs cost little. Used by many threads.
    """

    folder: Path
    only: str | None = None
    now: Callable[[], float] = time.time
    _seen: dict[str, tuple[Mark, Seen]] = field(default_factory=dict)
    _alive: dict[str, tuple[object, bool]] = field(default_factory=dict)

    def found(self) -> dict[str, Path]:
        """Folders of the runs by id, in the order of their names."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder))
        except OSError:
            return {}
        chosen = [name for name in names if self.only in (None, name)]
        places = {id_of(name): self._inside(name) for name in chosen}
        return {run: place for run, place in places.items() if place is not None}

    def place(self, run: str) -> Path:
        """The folder of a run. Raises UnknownRunError for anything that is not an id of a run of this folder."""
        name = name_of(run)
        if id_of(name) == run and self.only in (None, name):
            place = self._inside(name)
            if place is not None:
                return place
        raise UnknownRunError(f"there is no run {run!r} in {self.folder}")

    def _inside(self, name: str) -> Path | None:
        """The folder of that name, if it is a run and lies where it seems to lie."""
        if name in {"", ".", ".."} or "/" in name or "\0" in name or (os.sep != "/" and os.sep in name):
            return None
        place = self.folder / name
        try:
            real = not place.is_symlink() or place.resolve().is_relative_to(self.folder.resolve())
            return (
                place if real and place.is_dir() and is_run(place) and _is_readable(place / "lock") else None
            )
        except (OSError, ValueError):
            return None

    @contextmanager
    def opened(self, run: str) -> Iterator[tuple[Path, Reader | None]]:
        """A run's folder and a view of its database, None where nothing was recorded."""
        place = self.place(run)
        with reading(place) as reader:
            yield place, reader

    # -- changes -------------------------------------------------------------------------------------------------

    def mark(self, run: str, place: Path) -> Mark:
        """A value that changes with every commit, with the lock, and with the life of the process that holds it.

        It takes a few system calls and no connection: one that stays open would keep the run from clearing its
        write-ahead log away when it ends.
        """
        database = place / DATABASE
        lock = _stat(place / "lock")
        known = self._alive.get(run)
        if known is None or known[0] != lock or known[1]:  # a process that is gone does not come back
            holder = read_holder(place / "lock")
            known = (lock, holder is not None and holder.is_alive())
            self._alive[run] = known
        exports = place / "exports"
        return (
            _stat(database), _stat(database.with_name(f"{DATABASE}-wal")), _header(place), *known,
            _stat(exports), _stat(exports / "proof.json"),
        )  # fmt: skip

    def marks(self) -> dict[str, Mark]:
        """Of all runs."""
        return {run: self.mark(run, place) for run, place in self.found().items()}

    # -- how they stand ------------------------------------------------------------------------------------------

    def seen(self, run: str) -> Seen:
        """How a run stands; what is wrong with it is a state and a message, never an error."""
        return self._seen_in(run, self.place(run))

    def all_seen(self) -> dict[str, Seen]:
        """How all of them stand, by id."""
        return {run: self._seen_in(run, place) for run, place in self.found().items()}

    def _seen_in(self, run: str, place: Path) -> Seen:
        mark = self.mark(run, place)
        known = self._seen.get(run)
        if known is None or known[0] != mark:
            known = (mark, _look(place, self.now()))
            if known[1].message is None:  # what is wrong may be of a moment
                self._seen[run] = known
        return known[1]


def _look(place: Path, now: float) -> Seen:
    try:
        with reading(place) as reader:
            found = overview(place, reader, now=now)
            return Seen(place, found, *_newest(reader), _current_phase(found), _progress(found))
    except PROBLEMS as error:
        return Seen(place, Overview(str(place), "", _state_of(error)), message=_message(error))


def summary(run: str, seen: Seen) -> dict[str, Any]:
    """A line of the list of runs."""
    found = seen.overview
    return {
        "id": run, "name": name_of(run), "target": found.target, "state": found.state, "alive": found.alive,
        "phase": seen.phase, "progress": seen.progress, "eta_s": found.eta_s,
        "last_saved_at": found.last_saved_at, "failed": found.failed, "attempts": found.attempts,
        "overhead": found.overhead, "budget": found.budget, "message": seen.message,
        "proof": asdict(found.proof) if found.proof else None,
        "outcome": found.attempt_log[-1].outcome if found.attempt_log else None,  # of the last attempt
    }  # fmt: skip


def _newest(reader: Reader | None) -> tuple[int, str | None]:
    """The journal's newest number, and the last attempt's command."""
    if reader is None:
        return 0, None
    (seq,) = reader.rows("SELECT max(seq) FROM journal")[0]
    last = reader.row("SELECT command FROM attempts ORDER BY id DESC LIMIT 1")
    return int(seq or 0), last["command"] if last is not None else None


def _state_of(error: BaseException) -> str:
    if isinstance(error, FormatError):
        return "newer"
    return "unreadable" if isinstance(error, StorageError | OSError) else "damaged"


def _message(error: BaseException) -> str:
    if isinstance(error, PerdureError):
        return str(error)
    return f"the database cannot be understood ({type(error).__name__}: {error}); run `perdure verify`"


def _top(found: Overview) -> list[PhaseState]:
    """Phases that are not part of another's unit."""
    return [phase for phase in found.phases if "/" not in phase.name]


def _current_phase(found: Overview) -> str | None:
    return next((p.name for p in _top(found) if p.state not in {"new", "completed"}), None)


def _progress(found: Overview) -> float | None:
    """By time where it is known how long it will take; else each phase counted alike. None where nothing tells."""
    if found.state == "completed":
        return 1.0
    worked = math.fsum(attempt.seconds - attempt.lost_s for attempt in found.attempt_log)
    if found.eta_s and worked > 0:
        return worked / (worked + found.eta_s)
    shares = [_share(phase) for phase in _top(found)]
    return math.fsum(shares) / len(shares) if shares else None


def _share(phase: PhaseState) -> float:
    if phase.state == "completed":
        return 1.0
    return min(1.0, (phase.reached + phase.failed) / phase.total) if phase.total else 0.0


def _is_readable(path: Path) -> bool:
    """Whether reading it ends: a pipe in its place would let the reader wait for ever."""
    return path.is_file() or not path.exists()


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _header(place: Path) -> bytes:
    flags = (
        os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        descriptor = os.open(place / f"{DATABASE}-shm", flags)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _HEADER)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
