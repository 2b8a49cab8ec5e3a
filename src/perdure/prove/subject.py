"""What is proven: a target in processes and folders of its own, killed or left alone."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from perdure import files
from perdure.errors import PerdureError, UsageError
from perdure.store.database import DATABASE, Reader
from perdure.testing.script import COMPLETE, KILLED, Script

_POLL = 0.01  # seconds between two looks at a process
_TICK = 0.5  # seconds between two signs of life
_ALL_GENERATIONS = 1_000_000_000
_NOTHING = "the start"


@dataclass(frozen=True, slots=True)
class Point:
    """Where a process is to be killed: by variables, by what starts it, or `after` so many seconds."""

    label: str
    variables: Mapping[str, str] = field(default_factory=dict)
    prefix: tuple[str, ...] = ()
    after: float | None = None


@dataclass(frozen=True, slots=True)
class Attempted:
    """One process of the target."""

    code: int
    seconds: float
    timed_out: bool
    last_words: str

    @property
    def is_complete(self) -> bool:
        return self.code in COMPLETE and not self.timed_out

    @property
    def was_killed(self) -> bool:
        return self.code in {KILLED, 137} and not self.timed_out

    @property
    def problem(self) -> str:
        """Why it is not complete."""
        how = f"was still running after {self.seconds:.0f} s" if self.timed_out else f"ended with {self.code}"
        return f"{how}: {self.last_words}" if self.last_words else how


@dataclass(slots=True)
class Subject:
    """A target and the scratch folder that its runs are made in.

    All runs have the same path, one after the other, for a script may record where it is. Every process has another
    PYTHONHASHSEED, as it has in life, unless the user has set one. limit: seconds that a process may take.
    """

    script: Script
    name: str
    scratch: Path
    limit: float
    alive: Callable[[float], None] = lambda seconds: None  # called now and then while a process runs
    processes: int = 0
    own_folder: Path | None = None  # the run's folder that the script itself names
    named: list[str] = field(default_factory=list)  # all that its last process named

    @property
    def work(self) -> Path:
        """The folder of the present run."""
        return self.scratch / "now" / self.name

    def start_over(self) -> None:
        """Make room for a new run."""
        files.make_folder(self.scratch / "now")

    def set_aside(self, name: str) -> Path:
        """Move the present run away; returns its new folder."""
        (self.scratch / "now").rename(self.scratch / name)
        return self.scratch / name / self.name

    def attempt(
        self, point: Point | None = None, *, log: Path | None = None, hash_seed: int | None = None
    ) -> Attempted:
        """Start a process on the present run and wait for its end. log: a file for the seams that it passes."""
        self.processes += 1
        told = self.scratch / "own-folder"
        variables = {
            "PERDURE_KEEP": str(_ALL_GENERATIONS), "PERDURE_SAVE_ALWAYS": "1", "PERDURE_ANNOUNCE_OWN": str(told),
            "PERDURE_REPORT": "0",
        }  # fmt: skip
        if not has_hash_seed():
            variables["PYTHONHASHSEED"] = str(self.processes if hash_seed is None else hash_seed)
        if log is not None:
            variables["PERDURE_SEAM_LOG"] = str(log)
        point = point or Point("")
        said = self.scratch / "said"
        with said.open("wb") as out:
            process = self.script.start(
                self.work, {**variables, **point.variables}, out=out, err=out, prefix=point.prefix, tied=True
            )
            seconds, timed_out = self._wait(process, point.after)
        if told.exists() and (lines := told.read_text().splitlines()):
            self.own_folder, self.named = Path(lines[-1]), list(dict.fromkeys(lines))
            told.unlink()
        words = said.read_bytes()[-2000:].decode(errors="backslashreplace").strip().splitlines()
        return Attempted(process.returncode, seconds, timed_out, "\n".join(words[-6:]))

    def _wait(self, process: subprocess.Popen[bytes], after: float | None) -> tuple[float, bool]:
        """Until it ends, or is killed: at `after`, at the limit, or because we end ourselves."""
        began = told = time.monotonic()
        timed_out = False
        try:
            while process.poll() is None:
                time.sleep(_POLL)
                now = time.monotonic()
                if now - told > _TICK:
                    told = now
                    self.alive(now - began)
                timed_out = now - began > self.limit
                if timed_out:
                    break
                if after is not None and now - began >= after:
                    process.kill()
        finally:
            _end(process)
        return time.monotonic() - began, timed_out

    def uninterrupted(self, name: str, *, log: Path | None = None, hash_seed: int | None = None,
                      through: Point | None = None) -> tuple[Path, Attempted]:  # fmt: skip
        """A whole run without any kill: its folder. Raises UsageError where the script itself is at fault."""
        self.start_over()
        done = self.attempt(through, log=log, hash_seed=hash_seed)
        if done.timed_out:
            raise UsageError(
                f"{self.script.name} did not end within {done.seconds:.0f} s; what is proven must end by itself: make "
                "it smaller with --set or a preset, or give it more time with --timeout"
            )
        if len(self.named) > 1:
            raise UsageError(
                f"{self.script.name} opens {len(self.named)} runs ({', '.join(self.named)}), and what is proven opens "
                "one; let an argument of the script choose which, and prove each by itself"
            )
        if not done.is_complete:
            raise UsageError(
                f"{self.script.name} ended with {done.code} although nothing interrupted it; mend that first. It "
                f"said:\n{done.last_words}"
            )
        if not (self.work / DATABASE).exists():
            raise UsageError(f"{self.script.name} ended without opening a run; does it call perdure.open?")
        with opened(self.work) as reader:
            phases = reader.rows("SELECT path FROM phases")
        if not phases:
            raise UsageError(
                f"{self.script.name} opened a run and used none of its verbs, so there is nothing to compare; see "
                "run.step, run.map, run.each, run.range"
            )
        return self.set_aside(name), done


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it left behind in its group."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def has_hash_seed() -> bool:
    """Whether the user has fixed the order of sets."""
    return os.environ.get("PYTHONHASHSEED", "random") not in {"", "random"}


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Reader]:
    """A run's database, for reading."""
    reader = Reader(folder / DATABASE)
    try:
        yield reader
    finally:
        reader.close()


def saved(folder: Path) -> str:
    """What a killed run has saved: where a resume will go on."""
    try:
        with opened(folder) as reader:
            if reader.row("SELECT 1 FROM sqlite_master WHERE name = 'phases'") is None:
                return _NOTHING
            rows = reader.rows("SELECT path, kind, state, total FROM phases ORDER BY ordinal DESC")
            pending = [row for row in rows if row["state"] != "completed"]
            reached = [
                text for row in pending if (text := _reached(reader, row["path"], row["kind"], row["total"]))
            ]
            done = len(rows) - len(pending)
            return (
                reached[0]
                if reached
                else (f"{done} {'phase' if done == 1 else 'phases'} done" if done else _NOTHING)
            )
    except PerdureError:  # it died while it made the database
        return _NOTHING


def _reached(reader: Reader, path: str, kind: str, total: int | None) -> str:
    if kind == "range":
        row = reader.row(
            "SELECT position, stream, batch FROM snapshots WHERE loop = ? AND state = 'kept' "
            "ORDER BY generation DESC LIMIT 1",
            (path,),
        )
        batch = f", batch {row['batch'] + 1}" if row is not None and row["stream"] else ""
        return f"{path}: iteration {row['position'] + 1}{batch}" if row is not None else ""
    row = reader.row("SELECT count(*) AS n FROM units WHERE phase = ? AND state = 'done'", (path,))
    done = row["n"] if row is not None else 0
    return f"{path}: {done} of {total} done" if done else ""
