"""Seams: named places where a test may kill the process.

`PERDURE_KILL_AT=name` kills at the first passage of that seam, `name:3` at the third, `#17` at the
seventeenth seam of any name. `PERDURE_SEAM_LOG=FILE` appends each seam's name as it is passed, so that a
sweep knows what there is to kill. Both are read once; with neither set a seam costs one comparison.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

_kill_at = os.environ.get("PERDURE_KILL_AT", "")
_log_path = os.environ.get("PERDURE_SEAM_LOG", "")
_armed = bool(_kill_at or _log_path)
_counts: dict[str, int] = {}
_mutex = threading.Lock()


def seam(name: str) -> None:
    """Pass the seam `name`: nothing, unless a test armed it."""
    if _armed:
        _pass(name)


def _pass(name: str) -> None:
    with _mutex:  # the snapshot writer passes seams too
        _counts[name] = _counts.get(name, 0) + 1
        _counts[""] = _counts.get("", 0) + 1
        if _log_path:
            log = os.open(_log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.write(log, f"{name}\n".encode())
            os.close(log)
        if _kill_at in {f"{name}:{_counts[name]}", f"#{_counts['']}"} or (
            _kill_at == name and _counts[name] == 1
        ):
            _die()


def _die() -> None:
    if sys.platform == "win32":
        os._exit(137)
    os.kill(os.getpid(), signal.SIGKILL)
