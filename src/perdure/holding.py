"""Who works on a run: whether a process holds it, asking that process to end, and holding it oneself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import UsageError

_POLL = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a process that was asked to end. `stopped` is False when it still runs."""

    pid: int
    stopped: bool


def is_held(folder: Path) -> bool:
    """Whether a process that holds the run is alive."""
    from perdure.store.lock import read_holder

    holder = read_holder(folder / "lock")
    return holder is not None and holder.is_alive()


def stop(folder: Path, *, timeout: float) -> Ended:
    """Ask the process that holds a run to save and end, and wait so many seconds for it; it is never killed.

    Raises UsageError when none does, or when it is another user's.
    """
    from perdure.store.lock import read_holder

    holder = read_holder(folder / "lock")
    if holder is None or not holder.is_alive():
        where = f"; its last process was {holder}" if holder else ""
        raise UsageError(f"no process of this machine works on {folder}{where}")
    _ask(holder.pid)
    deadline = time.monotonic() + timeout
    while (alive := holder.is_alive()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    return Ended(holder.pid, not alive)


def _ask(pid: int) -> None:
    number = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)  # Windows would end the process at once
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself just now
    except PermissionError:
        raise UsageError(f"process {pid} belongs to another user, who can stop it") from None


@contextmanager
def held(folder: Path) -> Iterator[float]:
    """The right to write the run, and the time. Raises LockedError; a newer format is refused untouched."""
    from perdure.store import archive
    from perdure.store.lock import Lock

    now = time.time()
    lock = Lock(folder / "lock", now=now)
    try:
        archive.finish(folder)
        yield now
    finally:
        lock.release()
