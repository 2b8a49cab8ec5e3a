"""The rolling copy of the database, and how a run is opened when `run.db` itself is damaged or gone."""

from __future__ import annotations

import secrets
import sqlite3
from functools import lru_cache
from pathlib import Path

from perdure import files
from perdure.errors import DamagedError, UsageError
from perdure.seams import seam
from perdure.store.database import Database, Reader, is_sound
from perdure.store.schema import is_whole

NAME = "run.db.backup"
_SIDE_FILES = ("-wal", "-shm")
_SAVED = ("snapshots", "blobs")  # folders of files that count through their rows


def refresh(database: Database) -> None:
    """Copy the database to `run.db.backup`: complete, synced, then renamed."""
    target = database.path.with_name(NAME)
    temporary = target.with_name(f".{NAME}.{secrets.token_hex(4)}{files.TEMPORARY}")
    seam("backup.create")
    try:
        database.copy_to(temporary)
        if not is_whole(temporary):
            raise DamagedError(
                f"{database.path} was damaged while the run was going on; {NAME} is kept as it was, and the same "
                "command goes on from it"
            )
        seam("backup.rename")
        try:
            temporary.replace(target)
            files.sync_folder(target.parent)
        except OSError as error:
            raise files.storage_error(error, target) from error
    finally:
        files.remove(temporary)
    seam("backup.published")


def recover(path: Path) -> str | None:
    """Make sure that `path` is a sound database or absent on purpose.

    Returns what happened, for people, or None when all was well. Raises DamagedError when there was a run here
    and neither database can be read, UsageError when one of them is a link.
    """
    copy = path.with_name(NAME)
    for place in (path, copy, *(path.with_name(path.name + suffix) for suffix in _SIDE_FILES)):
        if place.is_symlink():
            raise UsageError(
                f"{place} is a link, and writing would change what it points to; put the file itself there"
            )
    if path.exists() and path.stat().st_size and is_whole(path):
        reader = Reader(path)
        try:
            behind = is_behind(reader)
        finally:
            reader.close()
        return _stand_in(path, copy, problem="was older than its own backup") if behind else None
    if not copy.exists():
        refuse_lost(path)
        return None
    if not is_whole(copy):
        raise DamagedError(f"{path} and {copy} are both unreadable; {_ways_out(path.parent)}")
    return _stand_in(path, copy, problem="was damaged or missing")


def refuse_lost(path: Path) -> None:
    """Raise DamagedError where a run's other files say that there was a database; there is no backup either."""
    if not _is_fresh(path):
        raise DamagedError(
            f"{path} is missing or unreadable and there is no {NAME} beside it, though the folder holds a run; "
            f"{_ways_out(path.parent)}"
        )


def _ways_out(folder: Path) -> str:
    """What a person may do who has lost the database and its copy."""
    databases = (path.name for path in sorted(folder.glob("run.db*")) if "damaged" not in path.name)
    in_the_way = [*databases, *(name for name in _SAVED if (folder / name).exists())]
    anew = f"move {', '.join(in_the_way)} away to start over here (cache/ keeps what was downloaded)"
    if any((folder / "backups").glob("[!.]*")):
        return f"go back to what `perdure backups {folder}` lists with `perdure restore {folder} BACKUP`, or {anew}"
    return f"there are no backups to go back to; {anew}"


def is_behind(database: Reader) -> bool:
    """Whether its backup knows more than a sound database: somebody put an older copy in its place, or its log was
    lost. The journal only ever grows, and a backup is made of what is on the disk already.
    """
    copy = database.path.with_name(NAME)
    if not copy.exists():
        return False
    reader = None
    try:
        reader = Reader(copy, immutable=True)
        known = _events(reader)
    except DamagedError:
        return False
    finally:
        if reader is not None:
            reader.close()
    return known > _events(database) and is_whole(copy)


def _events(reader: Reader) -> int:
    """How many events a database has seen; 0 for one without a journal."""
    try:
        return int(reader.rows("SELECT coalesce(max(seq), 0) FROM journal")[0][0])
    except sqlite3.OperationalError:
        return 0


def replace_by_backup(path: Path, *, problem: str) -> str | None:
    """Let a whole `run.db.backup` stand in for a database that contradicts itself; returns what happened, if it did."""
    copy = path.with_name(NAME)
    return _stand_in(path, copy, problem=problem) if copy.exists() and is_whole(copy) else None


def _is_fresh(path: Path) -> bool:
    """A database that was created and never committed to: an attempt died in its first moments."""
    folders = [path.parent / name for name in _SAVED]
    empty = not any(entry.is_file() for folder in folders if folder.exists() for entry in folder.rglob("*"))
    return empty and (not path.exists() or path.stat().st_size == 0)


def _stand_in(path: Path, copy: Path, *, problem: str) -> str:
    kept = ""
    if path.exists():
        kept = f"; it is kept as {files.set_aside(path).name}"
    log, index = (path.with_name(path.name + suffix) for suffix in _SIDE_FILES)
    if log.exists() and log.stat().st_size:
        files.set_aside(log)
    for side in (log, index):  # these tell nothing
        files.remove(side)
    with copy.open("rb") as stream:
        files.publish(path, iter(lambda: stream.read(files.CHUNK), b""), kind="recover")
    return f"{path.name} {problem} and was replaced by {copy.name}{kept}"


def known_generations(folder: Path) -> dict[str, int]:
    """The newest generation of each loop in `run.db.backup`: retention keeps their files."""
    copy = folder / NAME
    if not copy.exists():
        return {}
    place = copy.stat()
    return _known_generations(copy, place.st_ino, place.st_mtime_ns, place.st_size)


@lru_cache(maxsize=4)  # asked at every save, and new with every backup only
def _known_generations(copy: Path, *_version: int) -> dict[str, int]:
    if not is_sound(copy):
        return {}
    reader = Reader(copy)
    try:
        rows = reader.rows(
            "SELECT loop, max(generation) AS newest FROM snapshots WHERE state = 'kept' GROUP BY loop"
        )
        return {row["loop"]: row["newest"] for row in rows}
    finally:
        reader.close()
