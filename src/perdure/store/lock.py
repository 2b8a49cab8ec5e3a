"""The right to write a run. The operating system holds it, so it dies with its process.

What the lock file says (process, host, since when) only feeds the message that a second process gets.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import sys
import time
import weakref
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from perdure.errors import LockedError, StorageError
from perdure.files import storage_error

_BUSY = {errno.EACCES, errno.EAGAIN, errno.EDEADLK}
_PATIENCE = 1.0  # seconds for a holder that has just taken the lock to write who it is


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a run, as told to people."""

    pid: int
    process_started: float
    boot: str
    host: str
    since: float
    released: bool = False  # it gave the lock back, and may live on

    @classmethod
    def this_process(cls, *, now: float) -> Holder:
        pid = os.getpid()
        return cls(pid, _process_started(pid) or now, boot_id(), socket.gethostname(), now)

    def is_alive(self) -> bool:
        """Whether that very process still runs here and holds on; a reused process id does not count."""
        if self.released or self.host != socket.gethostname() or self.boot != boot_id():
            return False
        started = _process_started(self.pid)
        return started is not None and abs(started - self.process_started) < 0.01

    def __str__(self) -> str:
        since = datetime.fromtimestamp(self.since).astimezone().isoformat(sep=" ", timespec="seconds")
        return f"process {self.pid} on {self.host} since {since}"


class Lock:
    """Hold `path` exclusively until `release`, or until the process ends, whatever ends it."""

    def __init__(self, path: Path, *, now: float) -> None:
        self.path = path
        self._descriptor: int | None = None
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            descriptor = os.open(path, flags, 0o600)
        except OSError as error:
            raise storage_error(error, path) from error
        try:
            _take(descriptor)
        except OSError as error:
            os.close(descriptor)
            raise self._refusal(error) from error
        self._descriptor, self._holder = descriptor, None
        _held.add(self)
        try:
            self._holder = Holder.this_process(now=now)
            self._introduce(self._holder)
        except OSError as error:
            self.release()
            raise storage_error(error, path) from error

    def _introduce(self, holder: Holder) -> None:
        text, descriptor = json.dumps(asdict(holder)).encode(), self._descriptor
        assert descriptor is not None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text, 0) if hasattr(os, "pwrite") else os.write(descriptor, text)

    def _refusal(self, error: OSError) -> LockedError | StorageError:
        folder = self.path.parent
        if error.errno not in _BUSY:
            return StorageError(
                f"{folder} is on a file system without file locks ({error.strerror}); two processes could write "
                "the same run there. Put the run on a local disk"
            )
        holder = _present_holder(self.path)
        who = f"held by {holder}" if holder else "being opened by another process right now"
        stop = f"; wait for it, or stop it with `perdure stop {folder}`" if holder else "; try again shortly"
        return LockedError(f"run {folder} is {who}{stop}")

    def release(self) -> None:
        """Give the lock back. A process that lives on, such as a notebook, is no longer named as the holder."""
        if self._descriptor is not None:
            if self._holder is not None:
                with contextlib.suppress(OSError):
                    self._introduce(replace(self._holder, released=True))
            self.forget()

    def forget(self) -> None:
        """Close the file, which gives the lock back unless another process shares it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
            _held.discard(self)


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_in_child() -> None:
    """A forked child shares the open file, and with it the lock: it must not keep it alive."""
    for lock in list(_held):
        lock.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _take(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # a byte beyond the text, so that the text stays readable
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read_holder(path: Path) -> Holder | None:
    """What the lock file says, or None where it says nothing readable."""
    try:
        return Holder(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _present_holder(path: Path) -> Holder | None:
    """Who holds the lock now; what the file says may still be about the one before."""
    end = time.monotonic() + _PATIENCE
    while not ((holder := read_holder(path)) and holder.is_alive()) and time.monotonic() < end:
        time.sleep(0.02)
    return holder


def boot_id() -> str:
    """Names this boot of this machine, so that a process id from before a reboot is not mistaken."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"boot-{psutil.boot_time():.0f}"


def _process_started(pid: int) -> float | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None
