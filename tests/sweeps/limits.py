"""A run under limits: a disk that fills up, files that may not grow, few descriptors, little memory; and a crowd."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from processes import SCRIPTS, environment, rows
from sweeps.calls import unclear
from sweeps.ledger import Sweep
from sweeps.subject import Subject, facts
from sweeps.warm import Done

MEGABYTE = 1 << 20
CGROUPS = Path("/sys/fs/cgroup/memory")


def limited(subject: Subject, folder: Path, limit: Callable[[], None]) -> Done:
    """One attempt in a process that limits itself first. A negative code is the signal that ended it."""
    done = subprocess.run(
        subject.command(folder), env=subject.variables(folder, PERDURE_RUN=str(folder)), capture_output=True, text=True,
        timeout=subject.seconds, preexec_fn=limit,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def resumed(
    subject: Subject, sweep: Sweep, state: str, folder: Path, ended: Done, *, harsh: bool = False
) -> None:
    """What is wrong with how an attempt ended, and with the rerun without limits.

    harsh: a limit under which the interpreter itself may fail, so that any exit code may be.
    """
    answer, wrong = f"stopped {ended.code}, resumed", ""
    if not ended.code:
        answer, wrong = "survived", subject.wrong(folder, ended)
    elif not harsh:
        wrong = unclear(ended, folder)
    if not folder.exists() and harsh:
        sweep.add(state, "nothing was begun")
        return
    sweep.add(state, answer, wrong or subject.resumed(folder, facts(folder)))


def full_disk(subject: Subject, sweep: Sweep, disk: Path, free: Sequence[int]) -> None:
    """A disk with so many bytes free: a clear stop, or enough; with space again the same bits."""
    for size in free:
        folder, ballast = disk / "run", disk / "ballast"
        ballast.write_bytes(bytes(max(0, shutil.disk_usage(disk).free - size)))
        ended = limited(subject, folder, lambda: None)
        wrong = [str(path) for path in folder.rglob("*.tmp")]
        ballast.unlink()
        if wrong:
            sweep.add(f"{size} bytes free", "", f"leaves {wrong}")
        else:
            resumed(subject, sweep, f"{size} bytes free", folder, ended)
        shutil.rmtree(folder, ignore_errors=True)


def resources(subject: Subject, sweep: Sweep, kind: int, values: Sequence[int], *, harsh: bool) -> None:
    """A limit of the process (RLIMIT_*) at each of these values."""
    for value in values:
        folder = subject.scratch / "run"

        def limit(value: int = value) -> None:
            resource.setrlimit(kind, (value, value))

        resumed(subject, sweep, f"limit {value}", folder, limited(subject, folder, limit), harsh=harsh)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def cgroup(size: int) -> Iterator[Callable[[], None]]:
    """A memory limit of the kernel's; yields what a process does to be under it."""
    place = CGROUPS / f"perdure-sweep-{os.getpid()}"
    place.mkdir()
    try:
        (place / "memory.limit_in_bytes").write_text(str(size))
        yield lambda: (place / "cgroup.procs").write_text(str(os.getpid())) and None
    finally:
        place.rmdir()


def memory(subject: Subject, sweep: Sweep, values: Sequence[int]) -> None:
    """The kernel kills what takes more memory than this."""
    for value in values:
        folder = subject.scratch / "run"
        with cgroup(value) as enter:
            ended = limited(subject, folder, enter)
        resumed(subject, sweep, f"{value} bytes of memory", folder, ended, harsh=True)
        shutil.rmtree(folder, ignore_errors=True)


def crowd(sweep: Sweep, folder: Path, number: int, source: Path, *, patience: float = 240) -> None:
    """So many starts at once: one holds the run, the others exit 75, name the holder and write nothing.

    patience: seconds for them to find out.
    """
    command = [sys.executable, str(SCRIPTS / "slow.py")]
    named = environment(folder, SLOW="stuck", PYTHONPATH=str(source))
    started = [
        subprocess.Popen(command, env=named, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(number)
    ]
    try:
        deadline = time.monotonic() + patience
        while sum(process.poll() is None for process in started) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        holders = [process for process in started if process.poll() is None]
        for process in started:
            if process not in holders:
                sweep.add(f"process {process.pid}", "75, holder named", _refused(process, holders))
        attempts = rows(folder, "SELECT pid FROM attempts")
        wrong = (
            ""
            if [(holder.pid,) for holder in holders] == attempts
            else f"{len(holders)} hold it, {attempts} wrote"
        )
        sweep.add("the holder", "holds", wrong)
    finally:
        for process in started:
            process.send_signal(signal.SIGKILL)
            process.communicate()


def _refused(process: subprocess.Popen[str], holders: Sequence[subprocess.Popen[str]]) -> str:
    assert process.stderr is not None
    said = process.stderr.read().strip()
    named = any(f"held by process {holder.pid} on " in said and " since " in said for holder in holders)
    return "" if process.returncode == 75 and named else f"exits {process.returncode}: {said[-200:]}"
