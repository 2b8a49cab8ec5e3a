"""A script in processes of its own: run it, kill it at a seam, look at what it left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

KILLED = -9  # a return code as `subprocess` gives it
_PR_SET_PDEATHSIG = 1
COMPLETE = {0, 3}  # exit codes of a run that came to its end; 3 has units that failed


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that ended. `code` is negative for a signal; `out` and `err` are what it printed."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def was_killed(self) -> bool:
        return self.code in {KILLED, 137}  # Windows has no signals

    @property
    def last_words(self) -> str:
        """The last lines of what it said, for an error."""
        return "\n".join((self.err or self.out).strip().splitlines()[-8:])


@dataclass(frozen=True, slots=True)
class Script:
    """A command that opens one run, started in whatever folder it is given.

    words: the command line. environment: variables in addition to the present ones, of which those that begin with
    PERDURE_ are left out. timeout: seconds that a process may take.
    """

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    timeout: float | None = None

    @classmethod
    def of(
        cls,
        path: str | os.PathLike[str],
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Script:
        """A Python script with its arguments."""
        return cls((sys.executable, os.fspath(path), *arguments), dict(environment or {}), timeout)

    @property
    def name(self) -> str:
        """The script's or pipeline's name, for messages."""
        words = [word for word in self.words[1:] if word not in {"-m", "perdure", "run"}]
        return Path(words[0]).name if words else self.words[0]

    def start(
        self,
        folder: Path,
        variables: Mapping[str, str],
        *,
        out: IO[bytes] | int | None = None,
        err: IO[bytes] | int | None = None,
        prefix: tuple[str, ...] = (),
        tied: bool = False,
    ) -> subprocess.Popen[bytes]:
        """Start a process on the run `folder`, in a session of its own; `prefix` is what starts it, such as strace.

        tied: on Linux it is killed as soon as the present thread ends, however that comes.
        """
        named = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
        named |= {**self.environment, "PERDURE_RUN": str(folder), **variables}
        return subprocess.Popen(
            [*prefix, *self.words], env=named, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True,
            preexec_fn=_tie(os.getpid()) if tied and sys.platform == "linux" else None,
        )  # fmt: skip

    def run(self, folder: Path, **variables: str) -> Ended:
        """Run to whatever end. Raises subprocess.TimeoutExpired, when the process is killed."""
        began = time.monotonic()
        process = self.start(folder, variables, out=subprocess.PIPE, err=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=self.timeout)
        except BaseException:
            process.kill()
            process.communicate()
            raise
        texts = [text.decode(errors="backslashreplace") for text in (out, err)]
        return Ended(process.returncode, texts[0], texts[1], time.monotonic() - began)

    def finish(self, folder: Path, **variables: str) -> Ended:
        """Run to its end. Raises AssertionError, with what it said last, when it does not end well."""
        ended = self.run(folder, **variables)
        if ended.code not in COMPLETE:
            raise AssertionError(f"{self.name} ended with {ended.code}:\n{ended.last_words}")
        return ended

    def killed_at(self, folder: Path, seam: str, **variables: str) -> Ended:
        """Run until the passage of a seam ("snapshot.rename:2", "#17"), where it is killed.

        Raises AssertionError when it came to an end without passing there.
        """
        ended = self.run(folder, PERDURE_KILL_AT=seam, **variables)
        if not ended.was_killed:
            raise AssertionError(
                f"{self.name} was not killed at {seam}, for it never came there (PERDURE_SAVE_ALWAYS=1 leaves no save "
                f"out); it ended with {ended.code}:\n{ended.last_words}"
            )
        return ended

    def seams(self, folder: Path, **variables: str) -> list[str]:
        """The seams that an uninterrupted run passes, in order; `folder` then holds that run."""
        with TemporaryDirectory() as place:
            log = Path(place) / "seams"
            self.finish(folder, PERDURE_SEAM_LOG=str(log), **variables)
            return log.read_text().split() if log.exists() else []


def _tie(parent: int) -> Callable[[], None]:
    """What a new process does before anything else, so that SIGKILL to its parent ends it too."""
    prctl = ctypes.CDLL(None).prctl  # found before the fork

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was gone before
            os._exit(1)

    return tie


def digest(folder: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """What `perdure digest --parts` shows of a run: digests by part, by phase. Equal for equal bits."""
    from perdure.store.database import Reader
    from perdure.store.digest import digests

    reader = Reader(Path(folder) / "run.db")
    try:
        return {line.path: line.parts for line in digests(reader)}
    finally:
        reader.close()
