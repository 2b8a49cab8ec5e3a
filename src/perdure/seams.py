"""Seams: named places where a test may kill the process, or make the disk fail.

`PERDURE_KILL_AT=name` kills at the first passage of that seam, `name:3` at the third, `#17` at the
seventeenth seam of any name. `PERDURE_FAIL_AT=name:3=ENOSPC` raises that OSError there instead; `name:3+=ENOSPC` at
the third passage and all after it, as a disk that stays full does. `PERDURE_SEAM_LOG=FILE` appends each seam's name
as it is passed, so that a sweep knows what there is to kill. All are read once; with none set a seam costs one
comparison. Workers pass no seams: what they do counts only when their driver commits it.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Point:
    """One passage of a seam, or with `onward` that one and all after it; `name` is '' for a seam of any name."""

    name: str
    number: int
    onward: bool

    @classmethod
    def of(cls, text: str) -> _Point:
        name, _, number = ("", "", text[1:]) if text.startswith("#") else text.partition(":")
        digits = number.removesuffix("+") or "1"
        if not digits.isdigit():
            raise ValueError(f"{text!r} is no passage of a seam; write it like 'snapshot.sync:3' or '#17'")
        return cls(name, int(digits), number.endswith("+"))

    def is_met(self, name: str) -> bool:
        if self.name not in {"", name}:
            return False
        count = _counts[self.name]
        return count >= self.number if self.onward else count == self.number


def _failure(text: str) -> tuple[_Point, int]:
    point, _, name = text.rpartition("=")
    number = getattr(errno, name, None)
    if not point or not isinstance(number, int):
        raise ValueError(f"PERDURE_FAIL_AT={text!r} names no error; write it like 'snapshot.sync:3=ENOSPC'")
    return _Point.of(point), number


_kill_at = _Point.of(os.environ["PERDURE_KILL_AT"]) if os.environ.get("PERDURE_KILL_AT") else None
_fail_at = _failure(os.environ["PERDURE_FAIL_AT"]) if os.environ.get("PERDURE_FAIL_AT") else None
_log_path = os.environ.get("PERDURE_SEAM_LOG", "")
_armed = bool(_kill_at or _fail_at or _log_path) and not os.environ.get("PERDURE_WORKER")
_counts: dict[str, int] = {"": 0}
_mutex = threading.Lock()


def seam(name: str) -> None:
    """Pass the seam `name`: nothing, unless a test armed it."""
    if _armed:
        _pass(name)


def _pass(name: str) -> None:
    with _mutex:  # the snapshot writer passes seams too
        _counts[name] = _counts.get(name, 0) + 1
        _counts[""] += 1
        if _log_path:
            log = os.open(_log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(log, f"{name}\n".encode())
            os.close(log)
        if _kill_at is not None and _kill_at.is_met(name):
            _die()
        if _fail_at is not None and _fail_at[0].is_met(name):
            raise OSError(_fail_at[1], os.strerror(_fail_at[1]), name)


def _die() -> None:
    if sys.platform == "win32":
        os._exit(137)
    os.kill(os.getpid(), signal.SIGKILL)
