"""The rolling copy of the database, and how a run is opened when `run.db` itself is damaged or gone."""

from __future__ import annotations

import secrets
from functools import lru_cache
from pathlib import Path

from perdure import files
from perdure.errors import DamagedError
from perdure.seams import seam
from perdure.store.database import Database, Reader, is_sound
from perdure.store.schema import is_whole

NAME = "run.db.backup"
_SIDE_FILES = ("-wal", "-shm")


def refresh(database: Database) -> None:
    """Copy the database to `run.db.backup`: complete, synced, then renamed."""
    target = database.path.with_name(NAME)
    temporary = target.with_name(f".{NAME}.{secrets.token_hex(4)}{files.TEMPORARY}")
    seam("backup.create")
    try:
        database.copy_to(temporary)
        if not is_sound(temporary):
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
    and neither database can be read.
    """
    if path.exists() and path.stat().st_size and is_whole(path):
        return None
    copy = path.with_name(NAME)
    remains = path.exists() or any((path.parent / name).exists() for name in ("snapshots", "blobs"))
    if not copy.exists():
        if not remains or _is_fresh(path):
            return None
        raise DamagedError(
            f"{path} is missing or unreadable and there is no {NAME} beside it, though the folder holds a run; "
            f"restore one with `perdure restore {path.parent} BACKUP`, or start over in another folder"
        )
    if not is_whole(copy):
        raise DamagedError(
            f"{path} and {copy} are both unreadable; list backups with `perdure backups {path.parent}`"
        )
    return _stand_in(path, copy)


def _is_fresh(path: Path) -> bool:
    """A database that was created and never committed to: an attempt died in its first moments."""
    folders = [path.parent / "snapshots", path.parent / "blobs"]
    empty = not any(entry.is_file() for folder in folders if folder.exists() for entry in folder.rglob("*"))
    return empty and (not path.exists() or path.stat().st_size == 0)


def _stand_in(path: Path, copy: Path) -> str:
    kept = ""
    if path.exists():
        kept = f"; the damaged one is kept as {files.set_aside(path).name}"
    for suffix in _SIDE_FILES:
        side = path.with_name(path.name + suffix)
        if side.exists():
            files.set_aside(side)
    with copy.open("rb") as stream:
        files.publish(path, iter(lambda: stream.read(files.CHUNK), b""), kind="recover")
    return f"{path.name} was damaged or missing and was replaced by {copy.name}{kept}"


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
