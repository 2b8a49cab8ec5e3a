"""Where to kill: at seams, at random moments, or at system calls, spread over what an uninterrupted run does."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from perdure.errors import UsageError
from perdure.prove.subject import Point
from perdure.testing.kills import in_both, passages, spread

MODES = ("seams", "random", "syscalls")
_CALLS = (
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "ftruncate",
)
_MOST_IN_A_ROW = 5
_CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
_BORN = re.compile(r"^(\d+) +(?:clone3?\(|<\.\.\. clone3? resumed>).*= (\d+)$")


def in_a_row(kills: int) -> int:
    """How many of the kills go to one run, one after the other; 0 where there are too few."""
    return min(_MOST_IN_A_ROW, kills // 3) if kills >= 6 else 0


def at_seams(first: Sequence[str], second: Sequence[str], kills: int) -> tuple[list[Point], list[Point]]:
    """Points for runs of their own, and for the run that is killed several times, from what two runs passed."""
    passed, row = in_both(first, second), in_a_row(kills)
    names = passages(passed)
    single = [_seam(names[number]) for number in spread(passed, kills - row)]
    # An attempt passes so many seams and dies: the last one still finds some to pass.
    return single, [_seam(f"#{len(passed) // (row + 1)}")] * row


def _seam(name: str) -> Point:
    return Point(name, {"PERDURE_KILL_AT": name})


def at_random(seconds: float, kills: int) -> tuple[list[Point], list[Point]]:
    """Moments over a run's duration, drawn from a stream that is the same each time."""
    stream, row = random.Random("perdure prove"), in_a_row(kills)
    moments = sorted(stream.uniform(0, seconds) for _ in range(kills - row))
    shorter = [stream.uniform(0, 1.5 * seconds / row) for _ in range(row)]
    return [_moment(seconds) for seconds in moments], [_moment(seconds) for seconds in shorter]


def _moment(seconds: float) -> Point:
    return Point(f"after {seconds:.2f} s", after=seconds)


# -- system calls ------------------------------------------------------------------------------------------------


def watch(log: Path) -> Point:
    """Start a process under strace, which writes its calls into `log`. Raises UsageError where that cannot be."""
    strace = _strace()
    traced = ",".join(f"?{name}" for name in (*_CALLS, "clone", "clone3"))
    return Point(
        "", prefix=(strace, "-f", "-qq", "-y", "-o", str(log), "-e", f"trace={traced}", "-e", "signal=none")
    )


def at_calls(log: Path, work: Path, kills: int) -> tuple[list[Point], list[Point]]:
    """Calls of the uninterrupted run that touched its folder `work`, spread over them, each kind at least once."""
    calls, row = _calls(log.read_text(errors="replace"), work), in_a_row(kills)
    if not calls:
        raise UsageError(f"strace saw no call that touched {work}; may it trace processes on this machine?")
    chosen = [calls[number] for number in spread([name for name, _, _ in calls], kills - row)]
    early = calls[len(calls) // (row + 1) - 1]
    return [_inject(*call) for call in chosen], [_inject(*early)] * row


def _strace() -> str:
    found = shutil.which("strace")
    if found is None:
        raise UsageError(
            "--at syscalls needs strace, which is not installed (apt install strace; Linux only); --at seams needs "
            "nothing"
        )
    tried = subprocess.run([found, "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True)
    if tried.returncode:
        raise UsageError(
            f"strace may not trace processes here: {tried.stderr.strip()}; --at seams needs nothing"
        )
    return found


def _inject(name: str, number: int, file: str) -> Point:
    prefix = (_strace(), "-f", "-qq", "-o", "/dev/null", "-e", f"trace={name}", "-e",
              f"inject={name}:signal=KILL:when={number}")  # fmt: skip
    return Point(f"{name} {number}{f' ({file})' if file else ''}", prefix=prefix)


def _calls(text: str, work: Path) -> list[tuple[str, int, str]]:
    """Name, number within its thread (strace counts so) and file of each call of the driver that touched `work`."""
    ours, counts = set[str](), Counter[tuple[str, str]]()
    found: dict[tuple[str, int], str] = {}
    threads: dict[str, bool] = {}  # process id -> whether what it starts now is a thread
    for line in text.splitlines():
        call = _CALL.match(line)
        if call:
            pid, name, rest = call.groups()
            ours = ours or {pid}
            if name.startswith("clone"):
                threads[pid] = "CLONE_THREAD" in rest
            elif pid in ours:
                counts[pid, name] += 1
                if str(work) in rest:
                    found.setdefault((name, counts[pid, name]), _file(rest, work))
        born = _BORN.match(line)
        if born and born[1] in ours and threads.get(born[1]):
            ours.add(born[2])
    return [(name, number, file) for (name, number), file in found.items()]


def _file(rest: str, work: Path) -> str:
    path = rest.partition(f"{work}/")[2]
    file = re.split(r'[">]', path)[0]
    return re.sub(
        r"\.[0-9a-f]{8}\.tmp", "", file.replace("/.", "/").removeprefix(".")
    )  # temporary names are drawn
