"""What a run tells the terminal: numbered phases, one clear line for a start or a resume, progress.

Everything shown also goes to `run.log`. A closed pipe or a vanished terminal never stops a run.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from perdure.errors import NondeterminismError, PerdureError
from perdure.files import private, storage_error

_BAR = 24  # characters
_REDRAW = 0.1  # seconds between two drawings of a bar


def printable(text: object) -> str:
    """Text without control characters: a name or an error cannot drive the terminal."""
    return "".join(
        c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in str(text)
    )


def lines_of(text: str) -> list[str]:
    """A log's lines without control characters; of a line that was drawn over and over, the last state."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [printable(line.rstrip("\r").rpartition("\r")[2].replace("\t", "    ")) for line in lines]


class Console:
    """Lines and a progress bar on standard error, and a copy of everything in the log file."""

    def __init__(self, log: Path, *, phases: Sequence[str] = (), detached: bool = False) -> None:
        self._phases = list(phases)
        try:
            self._log = open(log, "a", 1, "utf-8", "backslashreplace", opener=private)  # noqa: SIM115
        except OSError as error:
            raise storage_error(error, log) from error
        if detached:
            _redirect(self._log)
        self._tees = [_Tee.over("stdout", self._log), _Tee.over("stderr", self._log)]
        self._mutex = threading.RLock()  # a signal may speak while a bar is being drawn
        self._bar: _Bar | None = None

    def say(self, text: object) -> None:
        """One line."""
        self._clear()
        print(f"perdure: {printable(text)}", file=sys.stderr, flush=True)

    def phase(self, path: str, what: str) -> None:
        """Announce a phase; declared ones carry their number."""
        number = f"[{self._phases.index(path) + 1}/{len(self._phases)}] " if path in self._phases else ""
        self._clear()
        print(f"{number}{printable(path)}: {printable(what)}", file=sys.stderr, flush=True)

    def progress(self, path: str, done: int, total: int | None) -> None:
        """Draw how far a phase is, with its rate and what is left, where there is a terminal."""
        stream = sys.stderr
        if total is None or not stream.isatty():
            return
        with self._mutex:
            if self._bar is None or self._bar.path != path:
                self._bar = _Bar(path, done)
            self._bar.draw(done, total, stream)

    def _clear(self) -> None:
        with self._mutex:
            if self._bar is not None:
                self._bar.clear(sys.stderr)
                self._bar = None

    def close(self) -> None:
        self._clear()
        for tee in self._tees:
            tee.undo()
        quietly(self._log.close)


def _redirect(log: IO[str]) -> None:
    """Send all that this process writes to the log, tracebacks and crashes of libraries too.

    What it wrote so far, into a file that its starter gave it, comes first.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    try:
        log.write(os.pread(1, os.fstat(1).st_size, 0).decode(errors="backslashreplace"))
        log.flush()
    except (OSError, AttributeError):  # nothing that could be read back
        pass
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)


class _Bar:
    """One phase's progress bar, drawn in place."""

    def __init__(self, path: str, first: int) -> None:
        self.path = path
        self._first = first
        self._began = time.monotonic()
        self._drawn_at = 0.0

    def draw(self, done: int, total: int, stream: Any) -> None:
        now = time.monotonic()
        if now - self._drawn_at < _REDRAW and done < total:
            return
        self._drawn_at = now
        rate = (done - self._first) / max(now - self._began, 1e-9)
        filled = round(_BAR * done / max(total, 1))
        left = f", {duration((total - done) / rate)} left" if rate > 0 and done < total else ""
        speed = (f"{rate:.1f}/s" if rate >= 1 else f"{duration(1 / rate)} each") if rate > 0 else ""
        bar = "━" * filled + "╌" * (_BAR - filled)
        text = f"  {bar} {done}/{total} {speed}{left}"
        stream.draw(f"\r\x1b[2K{text[: _columns() - 1]}") if isinstance(stream, _Tee) else None

    @staticmethod
    def clear(stream: Any) -> None:
        if isinstance(stream, _Tee):
            stream.draw("\r\x1b[2K")


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size((80, 24)).columns


def counted(number: int, noun: str) -> str:
    """1 attempt, 2 attempts."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds as people say them: 850 ms, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def _is_same(stream: IO[str] | None, log: IO[str]) -> bool:
    """Whether a stream goes to the log already."""
    try:
        return stream is not None and os.path.samestat(os.fstat(stream.fileno()), os.fstat(log.fileno()))
    except (OSError, ValueError, AttributeError):
        return False


class _Tee(io.TextIOBase):
    """A text stream that also writes to the log, and survives the loss of its terminal."""

    def __init__(self, name: str, stream: IO[str], log: IO[str] | None) -> None:
        self._name, self._stream, self._copy = name, stream, log

    @classmethod
    def over(cls, name: str, log: IO[str]) -> _Tee:
        stream = getattr(sys, name)
        tee = cls(name, stream, None if _is_same(stream, log) else log)
        setattr(sys, name, tee)
        return tee

    def write(self, text: str) -> int:
        quietly(lambda: self._stream.write(text))
        copy = self._copy
        if copy is not None:
            quietly(lambda: copy.write(text))
        return len(text)

    def draw(self, text: str) -> None:
        """To the terminal only."""
        quietly(lambda: self._stream.write(text))
        quietly(lambda: self._stream.flush())

    def flush(self) -> None:
        quietly(lambda: self._stream.flush())
        if self._copy is not None:
            quietly(self._copy.flush)

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except (OSError, ValueError, AttributeError):
            return False

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)  # `buffer`, `reconfigure` and what else this stream may have

    def undo(self) -> None:
        self.flush()
        _let_go(self._stream)
        if getattr(sys, self._name) is self:
            setattr(sys, self._name, self._stream)


def quietly(action: Callable[[], object]) -> None:
    """Speak to a terminal or a log that may be gone: nobody is to die in print.

    RuntimeError is what Python says when a signal speaks while the same stream is being written.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError, RuntimeError):
        action()


def _let_go(stream: IO[str] | None) -> None:
    """What a closed pipe did not take would make Python fail in the end, when it tries once more."""
    try:
        if stream is not None:
            stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[union-attr]
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass


def show_own_errors() -> None:
    """Show perdure's own errors as one clear message, and exit with their code."""
    previous = sys.excepthook
    if getattr(previous, "is_perdures", False):
        return

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not isinstance(error, PerdureError):
            previous(kind, error, trace)
            return
        if isinstance(error, NondeterminismError):
            previous(kind, error, trace)
        quietly(lambda: print(f"perdure: error: {printable(error)}", file=sys.stderr, flush=True))
        raise SystemExit(error.exit_code)

    show.is_perdures = True  # type: ignore[attr-defined]
    sys.excepthook = show
