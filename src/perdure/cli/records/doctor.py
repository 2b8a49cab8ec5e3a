"""`perdure doctor`: is this machine and this disk fit for a run?"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from perdure.cli.app import (
    AsJson,
    RunArgument,
    command,
    emit,
    reading,
    run_folder,
    runs,
    say,
    size_of,
    time_of,
)
from perdure.console import duration
from perdure.errors import PerdureError

_SYNCS = 15
_SLOW_SYNC = 0.1  # seconds
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "glusterfs",
    "lustre",
    "afs",
    "fuse.sshfs",
    "drvfs",
}
_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
_LAYERED = {"overlay", "aufs", "fuse-overlayfs"}
_FIXED_SQLITE = (3, 51, 3)
_PACKAGES = ("numpy", "blake3", "psutil", "keras", "jax", "tensorflow", "torch", "polars", "pyarrow")


@dataclass(frozen=True, slots=True)
class _Answer:
    """One line; level is 'ok', 'warning' or 'problem'."""

    name: str
    level: str
    text: str


@command("doctor")
def doctor(run: RunArgument = None, as_json: AsJson = False) -> int:
    """Check whether disk and machine are fit for a run.

    Looked at: the cost of a sync, the kind of file system, free space against need, locks, clock, versions. A
    run is never modified; without RUN the current folder is looked at. Exit code 1 when there is a problem.
    """
    known = runs()
    folder = run_folder(run) if run is not None or len(known) == 1 else Path.cwd()
    place = folder.parent if folder in known or run is not None else folder
    answers = [
        _file_system(place), *_disk(place), _space(folder), _clock(folder), *_versions(), _sqlite(),
    ]  # fmt: skip
    if as_json:
        emit({"folder": str(folder), "checks": [asdict(answer) for answer in answers]})
    else:
        for answer in answers:
            say(f"{answer.level:<8} {answer.name:<12} {answer.text}")
    return 1 if any(answer.level == "problem" for answer in answers) else 0


def _file_system(folder: Path) -> _Answer:
    kind, mount = _mounted(folder)
    if kind in _NETWORK or kind.startswith("fuse."):
        return _Answer(
            "file system", "warning", f"{kind} on {mount}: a network or user-space drive; locks and SQLite's log may "
            "not be safe there. Put runs on a local disk",
        )  # fmt: skip
    if kind in _MEMORY:
        return _Answer(
            "file system", "warning", f"{kind} on {mount}: memory; a power cut or reboot loses all runs"
        )
    if kind in _LAYERED:
        return _Answer(
            "file system", "warning", f"{kind} on {mount}: a container's layer; it goes with the container"
        )
    return _Answer("file system", "ok", f"{kind or 'of unknown kind'} on {mount}")


def _mounted(folder: Path) -> tuple[str, str]:
    """Kind and place of the file system that holds a folder."""
    import psutil

    best = ("", "/")
    real = folder.resolve()
    for part in psutil.disk_partitions(all=True):
        mount = Path(part.mountpoint)
        if real.is_relative_to(mount) and len(str(mount)) >= len(best[1]):
            best = (part.fstype, str(mount))
    return best


def _disk(place: Path) -> Iterator[_Answer]:
    """Sync and lock a file of our own beside the run."""
    from perdure import files

    try:
        with tempfile.NamedTemporaryFile(prefix=".perdure-doctor-", dir=place) as stream:
            times = [_timed_sync(stream.fileno(), files.sync) for _ in range(_SYNCS)]
            cost = statistics.median(times)
            level = "warning" if cost > _SLOW_SYNC else "ok"
            yield _Answer("sync", level, f"{1000 * cost:.2f} ms for 4 kB (median of {_SYNCS})")
            yield _lock(stream.name)
    except OSError as error:
        yield _Answer("sync", "problem", f"cannot write into {place}: {error.strerror}")


def _timed_sync(descriptor: int, sync: object) -> float:
    began = time.perf_counter()
    os.write(descriptor, b"\0" * 4096)
    assert callable(sync)
    sync(descriptor)
    return time.perf_counter() - began


def _lock(name: str) -> _Answer:
    from perdure.errors import LockedError
    from perdure.store.lock import Lock

    try:
        lock = Lock(Path(name), now=time.time())
    except PerdureError as error:
        return _Answer("locks", "problem", str(error))
    try:
        Lock(Path(name), now=time.time()).release()
    except LockedError:
        return _Answer("locks", "ok", "a second holder is refused")
    except PerdureError as error:
        return _Answer("locks", "problem", str(error))
    finally:
        lock.release()
    return _Answer("locks", "problem", "the file system grants one lock twice; put runs on a local disk")


def _space(folder: Path) -> _Answer:
    from perdure import files
    from perdure.store.check import needed_bytes
    from perdure.store.store import SMALLEST_FREE

    need, free = SMALLEST_FREE, files.free_bytes(folder)
    try:
        with reading(folder) as reader:
            if reader is not None:
                need += needed_bytes(reader) + 2 * reader.path.stat().st_size
    except (PerdureError, sqlite3.Error) as error:
        return _Answer("space", "warning", f"{size_of(free)} free; what is needed cannot be told: {error}")
    text = f"{size_of(free)} free, the next saves need {size_of(need)}"
    return _Answer("space", "ok" if free >= 2 * need else "warning" if free >= need else "problem", text)


def _clock(folder: Path) -> _Answer:
    """A clock that went back harms nothing, but what is shown looks odd."""
    now = time.time()
    last = 0.0
    try:
        with reading(folder) as reader:
            if reader is not None:
                last = reader.rows("SELECT coalesce(max(at), 0) FROM journal")[0][0]
    except (PerdureError, sqlite3.Error):
        pass  # told by the answer about space
    if last > now + 1:
        return _Answer(
            "clock", "warning", f"{time_of(now)}, {duration(last - now)} before the run's last event"
        )
    return _Answer("clock", "ok", time_of(now))


def _versions() -> Iterator[_Answer]:
    from importlib.metadata import PackageNotFoundError, version

    import perdure

    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    python = ".".join(str(part) for part in sys.version_info[:3])
    yield _Answer("versions", "ok", f"perdure {perdure.__version__}, Python {python}, {', '.join(found)}")


def _sqlite() -> _Answer:
    if sqlite3.sqlite_version_info >= _FIXED_SQLITE:
        return _Answer("SQLite", "ok", sqlite3.sqlite_version)
    return _Answer(
        "SQLite", "ok",
        f"{sqlite3.sqlite_version}; before 3.51.3 it can lose a commit when several connections checkpoint, which "
        "perdure rules out: one connection writes, all others only read",
    )  # fmt: skip
