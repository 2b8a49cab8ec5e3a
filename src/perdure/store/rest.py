"""Was a database altered while nobody had it open? A start compares everything only then: that takes long.

When a run is left in order, the digest of its database is written beside it; the next attempt takes it away. A killed
attempt leaves none: what came of its work since is told by the checks of every start. A repair leaves it until all is
compared, so that a repair that is killed is begun again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from perdure import files
from perdure.errors import StorageError

SUFFIX = ".sha256"


def record(path: Path) -> None:
    """The database is closed and whole: note its bytes. Where that fails, the next start compares nothing."""
    with suppress(StorageError, OSError):  # all is saved: a run that is done does not fail for this
        if not _has_log(path):
            files.publish(_place(path), [files.digest(path).encode()], kind="rest")


def forget(path: Path) -> None:
    """The database is about to change."""
    files.remove(_place(path))


def was_altered(path: Path) -> bool:
    """Whether it is another than the one that was left in order."""
    place = _place(path)
    try:
        if not place.is_file() or not path.is_file() or _has_log(path):
            return False
        return place.read_bytes() != files.digest(path).encode()
    except FileNotFoundError:  # another process begins an attempt just now
        return False
    except OSError as error:
        raise files.storage_error(error, place) from error


def _place(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)


def _has_log(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0
