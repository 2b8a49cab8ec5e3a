"""What `perdure doctor` asks of a machine: its file system, disk, locks, clock, memory and versions."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.cli.app import size_of, time_of
from perdure.console import duration
from perdure.errors import LockedError, PerdureError, UsageError

TRIES = 15  # syncs that are timed
SLOW = 0.1  # seconds of a sync above which saving gets expensive
NOTHING = 20e-6  # seconds below which no sync has reached a device
TURNING = 2e-3  # the same of a disk that turns: less than a quarter of a turn
_NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "virtiofs", "ceph", "glusterfs", "lustre", "afs", "drvfs", "vboxsf",
    "fuse.sshfs",
}  # fmt: skip
_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}
_LAYERED = {"overlay", "aufs", "fuse-overlayfs"}
_FIXED_SQLITE = (3, 51, 3)
_PACKAGES = ("numpy", "blake3", "psutil", "keras", "jax", "tensorflow", "torch", "polars", "pyarrow")
_SAFE_TORCH = (2, 10)


@dataclass(frozen=True, slots=True)
class Answer:
    """One line; level is 'ok', 'warning' or 'problem'."""

    name: str
    level: str
    text: str


def mounted(folder: Path) -> tuple[str, str]:
    """Kind and place of the file system that holds a folder."""
    import psutil

    best = ("", "/")
    real = folder.resolve()
    for part in psutil.disk_partitions(all=True):
        mount = Path(part.mountpoint)
        if real.is_relative_to(mount) and len(str(mount)) >= len(best[1]):
            best = (part.fstype, str(mount))
    return best


def file_system(folder: Path) -> Answer:
    """What kind it is, and what that means for a run."""
    kind, mount = mounted(folder)
    if kind in _NETWORK:
        text = "a network drive; locks and SQLite's log may not be safe there. Put runs on a local disk"
    elif kind.startswith("fuse.") or kind == "fuseblk":
        text = "a user-space drive; whether a sync reaches the disk is up to its program. Put runs on a local disk"
    elif kind in _MEMORY:
        text = "memory; a power cut or reboot loses all runs"
    elif kind in _LAYERED:
        text = "a container's layer; it goes with the container. Mount a volume for runs"
    else:
        return Answer("file system", "ok", f"{kind or 'of unknown kind'} on {mount}")
    return Answer("file system", "warning", f"{kind} on {mount}: {text}")


def disk(place: Path) -> Iterator[Answer]:
    """Write, sync, lock and look again at a file of our own beside the run."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".perdure-Doctor-", dir=place) as stream:
            plain, synced = written(stream.fileno(), sync=False), written(stream.fileno(), sync=True)
            yield honesty(synced, plain, turns=is_turning(place), kind=mounted(place)[0])
            yield locks(stream.name)
            yield names(Path(stream.name))
            yield file_clock(time.time(), os.fstat(stream.fileno()).st_mtime)
    except OSError as error:
        yield Answer("sync", "problem", f"cannot write into {place}: {error.strerror}")


def written(descriptor: int, *, sync: bool) -> float:
    """Median seconds of writing 4 kB, with or without a sync after it."""
    from perdure import files

    times = []
    for _ in range(TRIES):
        began = time.perf_counter()
        os.write(descriptor, b"\0" * 4096)
        if sync:
            files.sync(descriptor)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def is_turning(place: Path) -> bool:
    """Whether the device below says that it is a disk that turns; no where it says nothing."""
    device = place.stat().st_dev
    below = (
        Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}") if sys.platform == "linux" else place
    )
    for queue in (below / "queue" / "rotational", below / ".." / "queue" / "rotational"):
        if queue.exists():
            return queue.read_text().strip() == "1"
    return False


def honesty(synced: float, plain: float, *, turns: bool, kind: str) -> Answer:
    """What a sync costs, and whether it can have done what it says."""
    text = f"{1000 * synced:.2f} ms for 4 kB, {1000 * plain:.3f} ms without (medians of {TRIES})"
    if synced > SLOW:
        return Answer("sync", "warning", f"{text}: slow; save less often (every=), or use another disk")
    if kind not in _MEMORY and (synced < NOTHING or synced < 1.5 * plain or (turns and synced < TURNING)):
        return Answer(
            "sync", "warning", f"{text}: too fast to have reached {'a disk that turns' if turns else 'a disk'}. "
            "Something answers in its place (a cache, a virtual disk, libeatmydata): a power cut may lose what was "
            "called saved",
        )  # fmt: skip
    return Answer("sync", "ok", text)


def locks(name: str) -> Answer:
    """Whether a second holder is refused."""
    from perdure.store.lock import Lock

    try:
        lock = Lock(Path(name), now=time.time())
    except PerdureError as error:
        return Answer("locks", "problem", str(error))
    try:
        Lock(Path(name), now=time.time()).release()
    except LockedError:
        return Answer("locks", "ok", "a second holder is refused")
    except PerdureError as error:
        return Answer("locks", "problem", str(error))
    finally:
        lock.release()
    return Answer("locks", "problem", "the file system grants one lock twice; put runs on a local disk")


def names(path: Path) -> Answer:
    """Whether upper and lower case are told apart; perdure's own names do not need it, a script's may."""
    if path.with_name(path.name.lower()).exists():
        return Answer(
            "names", "warning", "upper and lower case are not told apart here: exports that differ only in it replace "
            "each other (names of loops and units do not)",
        )  # fmt: skip
    return Answer("names", "ok", "upper and lower case are told apart")


def file_clock(now: float, stamp: float) -> Answer:
    """The file system's clock against the machine's: a server far off makes times and ages odd, no more."""
    if abs(now - stamp) > 5:
        return Answer(
            "file clock", "warning", f"the file system is {duration(abs(now - stamp))} off; ages look odd"
        )
    return Answer("file clock", "ok", "as the machine's")


def clock(now: float, last: float) -> Answer:
    """A clock that went back harms nothing, but what is shown looks odd."""
    if last > now + 1:
        return Answer(
            "clock", "warning", f"{time_of(now)}, {duration(last - now)} before the run's last event: it went back. "
            "Order is kept by numbers, so nothing is lost; ages and ETA look odd",
        )  # fmt: skip
    return Answer("clock", "ok", time_of(now))


def memory(available: int, total: int, swapped: int, limit: int | None) -> Answer:
    """Room for a training process, whose worst end is to be killed by the kernel."""
    room = f"{size_of(available)} of {size_of(total)} free"
    if limit is not None and limit < total:
        room += f", limited to {size_of(limit)} here"
    if swapped > total // 10:
        return Answer(
            "memory", "warning", f"{room}; {size_of(swapped)} are swapped out: training will be slow"
        )
    if available < total // 20:
        return Answer(
            "memory", "warning", f"{room}; the kernel may kill a training process. It resumes, but not faster"
        )
    return Answer("memory", "ok", room)


def memory_now() -> Answer:
    import psutil

    now = psutil.virtual_memory()
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return memory(now.available, now.total, psutil.swap_memory().used, int(text) if text.isdigit() else None)


def versions(installed: Callable[[str], str | None]) -> Iterator[Answer]:
    """What is installed, and whether an exact resume of Keras was tested with it."""
    import perdure

    found = {name: version for name in _PACKAGES if (version := installed(name)) is not None}
    python = ".".join(str(part) for part in sys.version_info[:3])
    listed = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Answer("versions", "ok", f"perdure {perdure.__version__}, Python {python}, {listed}")
    if "keras" in found:
        yield _keras(found)
    if "torch" in found and _numbers(found["torch"]) < _SAFE_TORCH:
        yield Answer(
            "torch", "warning", f"{found['torch']}: its file reader has known faults before 2.10; upgrade it"
        )


def _keras(found: dict[str, str]) -> Answer:
    table = _compatibility()
    untested = []
    backends = [name for name in table.BACKENDS if name in found]
    for backend in backends:
        try:
            table.check_versions(keras=found["keras"], backend=backend, version=found[backend])
        except UsageError as error:
            untested.append(str(error).partition(";")[0])
    if untested:
        return Answer("keras", "warning", "; ".join(untested))
    return Answer(
        "keras", "ok", f"exact resume was tested with {found['keras']} on {', '.join(backends) or 'none'}"
    )


def _compatibility() -> Any:
    """The module with the tested table alone: its package loads Keras, which takes many seconds."""
    place = Path(__file__).parents[2] / "keras" / "compatibility.py"
    spec = importlib.util.spec_from_file_location("perdure_tested_versions", place)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.partition("+")[0].split(".") if part.isdigit())


def sqlite(version: tuple[int, ...]) -> Answer:
    text = ".".join(str(part) for part in version)
    if version >= _FIXED_SQLITE:
        return Answer("SQLite", "ok", text)
    return Answer(
        "SQLite", "ok", f"{text}; before 3.51.3 it can lose a commit when several connections checkpoint, which "
        "perdure rules out: one connection writes, all others only read. Let no other program write it",
    )  # fmt: skip


def sqlite_now() -> Answer:
    return sqlite(sqlite3.sqlite_version_info)
