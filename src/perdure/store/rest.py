"""Was a database altered while nobody had it open? A start compares everything only then: that takes long.

When a run is left in order, the digest of its database is written beside it; the next process that opens it to write
takes it away. A killed process leaves none: what came of its work since is told by the checks of every start.
"""

from __future__ import annotations

from pathlib import Path

from perdure import files
from perdure.errors import StorageError

SUFFIX = ".sha256"


def record(path: Path) -> None:
    """The database is closed and whole: note its bytes. Where that fails, the next start compares nothing."""
    if _has_log(path):
        return
    try:
        files.publish(_place(path), [files.digest(path).encode()], kind="rest")
    except StorageError:
        files.remove(_place(path))


def forget(path: Path) -> None:
    """The database is about to change."""
    files.remove(_place(path))


def was_altered(path: Path) -> bool:
    """Whether it is another than the one that was left in order."""
    place = _place(path)
    if not place.is_file() or not path.is_file() or _has_log(path):
        return False
    return place.read_bytes() != files.digest(path).encode()


def _place(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0
