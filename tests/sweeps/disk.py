"""File systems of their own, in a file and mounted through a loop device: ones whose power can be cut."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.calls import Fault
from sweeps.ledger import Sweep
from sweeps.subject import Subject
from sweeps.tracer import KILL, Answer, Call

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
_NO_LOG_FLUSH = 2  # as when the power goes: what only memory holds is gone
SIZES = {"ext4": 64 << 20, "xfs": 320 << 20}  # bytes, sparse


@dataclass(frozen=True, slots=True)
class Disk:
    """One mounted file system."""

    kind: str
    image: Path
    place: Path

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.place], check=True, capture_output=True)

    def unmount(self) -> None:
        subprocess.run(["umount", self.place], check=True, capture_output=True)

    def cut_power(self) -> None:
        """From here on nothing reaches the disk, and every call on it fails."""
        descriptor = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(descriptor)


def refusal(kind: str) -> str:
    """Why this machine cannot mount such a file system; empty where it can."""
    if os.geteuid() != 0:
        return "mounting needs root"
    missing = [name for name in ("mount", "losetup", f"mkfs.{kind}") if shutil.which(name) is None]
    return f"needs {missing[0]}" if missing else ""


class CannotMountError(Exception):
    """This machine mounts no such file system, though it has the tools."""


@contextlib.contextmanager
def disk(kind: str, scratch: Path) -> Iterator[Disk]:
    """A fresh file system. Raises CannotMountError."""
    made = Disk(kind, scratch / f"{kind}.image", scratch / kind)
    made.place.mkdir()
    with open(made.image, "wb") as image:
        image.truncate(SIZES[kind])
    subprocess.run([f"mkfs.{kind}", "-q", made.image], check=True, capture_output=True)
    try:
        made.mount()
    except subprocess.CalledProcessError as error:
        raise CannotMountError(f"{kind} cannot be mounted here: {error.stderr!r}") from error
    try:
        yield made
    finally:
        made.unmount()
        made.image.unlink()


class PowerCut(Fault):
    """The power goes just before a call, and with it the process."""

    def __init__(self, folder: Path, index: int, disk: Disk) -> None:
        super().__init__(folder, index, KILL)
        self.disk = disk

    def answer(self, call: Call) -> Answer:
        answer = super().answer(call)
        if answer == KILL:
            self.disk.cut_power()
        return answer


def cut(subject: Subject, sweep: Sweep, points: Sequence[int], on: Disk) -> None:
    """The power goes just before each of these calls; after the mount that follows, a rerun ends with the same bits."""
    log = subject.scratch / "seams"
    for index in points:
        folder = on.place / "run"
        os.sync()
        log.unlink(missing_ok=True)
        fault = PowerCut(folder, index, on)
        ended = subject.traced(folder, fault, watched=log)
        if fault.hit is None:
            sweep.add(fault, "ended before", subject.wrong(folder, ended))
        else:
            on.unmount()
            on.mount()
            sweep.add(fault, "mounted, resumed", subject.resumed(folder, fault.facts))
        shutil.rmtree(folder, ignore_errors=True)
