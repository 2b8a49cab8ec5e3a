"""Backups of a run, and the swap that puts another state in its place.

A backup is a folder in `backups/` with a copy of the database, `snapshots/`, `blobs/` and `exports/`, and a manifest
that names each file with its size and SHA-256. It is built aside and renamed into place, so that it is there whole or
not at all. `cache/` (raw data that can be fetched again) and `run.log` are not part of it.

The other way round nothing is trusted: only regular files that the manifest names are copied, each is compared with
its digest, and only when all are there does one rename decide (`store.swap`).

All functions that write expect that the caller holds the run's lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from perdure import files
from perdure.errors import DamagedError, FormatError, UsageError
from perdure.store import schema
from perdure.store.database import DATABASE, Database, Reader, is_sound, quoted
from perdure.store.swap import (
    PARTS,
    PROGRESS,
    SIDE_FILES,
    clear,
    decide,
    move,
    open_regular,
    read_bounded,
    staged,
)
from perdure.store.swap import finish as finish

MANIFEST = "manifest.json"
FORMAT = 1  # of a backup's folder and manifest
_MOST_FILES = 2_000_000


@dataclass(frozen=True, slots=True)
class Copied:
    """One file of a backup; `path` is relative, with forward slashes."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup, as its manifest tells."""

    name: str
    at: float  # seconds since the epoch
    why: str  # the command that made it
    size: int  # bytes
    files: int


# -- making one --------------------------------------------------------------------------------------------------


def create(folder: Path, *, now: float, why: str, allow_damaged: bool = False) -> Backup:
    """Copy the run into `backups/<UTC time>-<n>`.

    With `allow_damaged` an unreadable database is kept as the bytes that it is. Raises DamagedError or StorageError;
    then nothing is left behind.
    """
    place = folder / "backups"
    files.make_folder(place)
    files.require_space(place, sum(path.stat().st_size for path in _present(folder)), purpose="a backup")
    name = _free_name(place, now)
    stage = place / f".{name}.{secrets.token_hex(4)}{files.TEMPORARY}"
    files.make_folder(stage)
    try:
        copied = [*_copy_database(folder, stage, allow_damaged=allow_damaged), *_copy_parts(folder, stage)]
        document = {"format": FORMAT, "at": now, "why": why, "files": [asdict(file) for file in copied]}
        files.publish(stage / MANIFEST, [json.dumps(document, indent=1).encode()], kind="backup")
        move(stage, place / name)
    finally:
        clear(stage)
    return Backup(name, now, why, sum(file.size for file in copied), len(copied))


def _free_name(place: Path, now: float) -> str:
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    number = 1
    while (place / f"{stamp}-{number}").exists():
        number += 1
    return f"{stamp}-{number}"


def _present(folder: Path) -> Iterator[Path]:
    """The regular files that make up a run's state; links are left out, half-written files too."""
    if (folder / DATABASE).is_file():
        yield folder / DATABASE
    for part in PARTS:
        for base, names, found in os.walk(folder / part):
            names.sort()
            for name in sorted(found):
                path = Path(base, name)
                if stat.S_ISREG(path.lstat().st_mode) and not name.endswith(files.TEMPORARY):
                    yield path


def _copy_database(folder: Path, stage: Path, *, allow_damaged: bool) -> list[Copied]:
    source, target = folder / DATABASE, stage / DATABASE
    if not source.exists():
        return []
    try:
        if not is_sound(source):
            raise DamagedError(f"{source} is damaged; run `perdure verify --repair {folder}` first")
        database = Database(source)
        try:
            database.copy_to(target)
        finally:
            database.close()
    except DamagedError:
        if not allow_damaged:
            raise
        return [
            _copy(folder / name, stage / name) for name in (DATABASE, *SIDE_FILES) if (folder / name).exists()
        ]
    return [Copied(DATABASE, target.stat().st_size, files.digest(target))]


def _copy_parts(folder: Path, stage: Path) -> Iterator[Copied]:
    for path in _present(folder):
        if path.name != DATABASE or path.parent != folder:
            target = stage / path.relative_to(folder)
            files.make_folder(target.parent)
            copied = _copy(path, target)
            yield Copied(path.relative_to(folder).as_posix(), copied.size, copied.sha256)


def _copy(source: Path, target: Path, *, at_most: int | None = None) -> Copied:
    """Copy a regular file, never through a link. Raises DamagedError when it has more than `at_most` bytes."""
    descriptor = open_regular(source)
    hasher = hashlib.sha256()

    def content() -> Iterator[bytes]:
        left = at_most
        while chunk := os.read(descriptor, files.CHUNK):
            if left is not None and (left := left - len(chunk)) < 0:
                raise DamagedError(f"{source} is larger than its manifest says")
            hasher.update(chunk)
            yield chunk

    try:
        size = files.publish(target, content(), kind="backup")
    finally:
        os.close(descriptor)
    return Copied(source.name, size, hasher.hexdigest())


# -- reading them ------------------------------------------------------------------------------------------------


def backups(folder: Path) -> tuple[list[Backup], list[str]]:
    """The backups of a run, oldest first, and a line for each folder among them that is none."""
    found: list[Backup] = []
    refused: list[str] = []
    for path in sorted((folder / "backups").glob("*")):
        if path.name.startswith("."):
            continue
        try:
            found.append(_manifest(path)[0])
        except (DamagedError, FormatError) as error:
            refused.append(str(error))
    return sorted(found, key=lambda one: (one.at, one.name)), refused


def locate(folder: Path, name: str) -> Path:
    """The folder of a backup that the user names. Raises UsageError."""
    path = folder / "backups" / name
    plain = bool(name) and name not in {".", ".."} and not any(mark in name for mark in "/\\\0")
    if not plain or path.is_symlink() or not path.is_dir():
        known = ", ".join(one.name for one in backups(folder)[0]) or "none"
        raise UsageError(f"{name!r} is not a backup of {folder}; there are: {known}")
    return path


def _manifest(path: Path) -> tuple[Backup, list[Copied]]:
    """Read a manifest without trusting it. Raises DamagedError or FormatError."""
    try:
        document = json.loads(read_bounded(path / MANIFEST))
        if document["format"] > FORMAT:
            raise FormatError(
                f"backup {path} has format {document['format']}; install a newer perdure to read it"
            )
        copied = [Copied(file["path"], file["size"], file["sha256"]) for file in document["files"]]
        if len(copied) > _MOST_FILES:
            raise DamagedError(f"backup {path} names {len(copied)} files, more than a run can have")
        size = sum(_checked(file, path).size for file in copied)
        if len({file.path.casefold() for file in copied}) != len(copied):
            raise DamagedError(f"backup {path} names a file twice; nothing was changed")
        at = datetime.fromtimestamp(float(document["at"]), UTC).timestamp()  # one that calendars can show
        return Backup(path.name, at, str(document["why"]), size, len(copied)), copied
    except (
        OSError,
        ValueError,
        ArithmeticError,
        LookupError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise DamagedError(f"{path} has no readable manifest ({type(error).__name__}: {error})") from error


def _checked(file: Copied, place: Path) -> Copied:
    """Refuse names that lead anywhere but into the parts of a run."""
    path: Any = file.path
    if not isinstance(path, str) or any(mark in path for mark in "\\\0:"):
        raise DamagedError(f"backup {place} names {path!r}; nothing was changed")
    parts = PurePosixPath(path).parts
    inside = path == DATABASE or path in SIDE_FILES or (len(parts) > 1 and parts[0] in PARTS)
    if not inside or ".." in parts or "/".join(parts) != path:
        raise DamagedError(f"backup {place} names {path!r}, which is not part of a run; nothing was changed")
    if not isinstance(file.size, int) or file.size < 0 or not isinstance(file.sha256, str):
        raise DamagedError(f"backup {place} gives no size or digest for {path!r}; nothing was changed")
    return file


# -- going back --------------------------------------------------------------------------------------------------


def restore(folder: Path, name: str, *, now: float) -> tuple[Backup, Backup | None]:
    """Put a backup in the place of the present state, which is backed up first.

    Returns the backup that was restored and the one that was made. Raises UsageError, DamagedError, FormatError or
    StorageError; then nothing was changed.
    """
    source = locate(folder, name)
    chosen, copied = _manifest(source)
    files.require_space(folder, chosen.size, purpose="the restored run")
    with staged(folder) as stage:
        for file in copied:
            _take(source, file, stage)
        _check_database(stage / DATABASE, source)
        before = (
            create(folder, now=now, why="restore", allow_damaged=True)
            if (folder / DATABASE).exists()
            else None
        )
        places = [part for part in (DATABASE, *PARTS) if (stage / part).exists()]
        decide(folder, stage, remove=[*PROGRESS, DATABASE], place=places)
    finish(folder)
    return chosen, before


def _take(source: Path, file: Copied, stage: Path) -> None:
    path = source
    for part in PurePosixPath(file.path).parts:
        path = path / part
        if path.is_symlink():
            raise DamagedError(f"{path} is a link; a backup holds regular files only; nothing was changed")
    target = stage / file.path
    files.make_folder(target.parent)
    try:
        copied = _copy(path, target, at_most=file.size)
    except FileNotFoundError:
        raise DamagedError(
            f"{path} is missing, though the backup's manifest names it; nothing was changed"
        ) from None
    if (copied.size, copied.sha256) != (file.size, file.sha256):
        raise DamagedError(f"{path} does not match the backup's manifest; nothing was changed")


def _check_database(path: Path, source: Path) -> None:
    if not path.exists() or not is_sound(path):
        raise DamagedError(f"the database in backup {source} is missing or damaged; choose another backup")
    reader = Reader(path, immutable=True)
    try:
        schema.refuse_newer(reader, place=str(source))
    finally:
        reader.close()


# -- starting over -----------------------------------------------------------------------------------------------


def reset(folder: Path, *, now: float, everything: bool = False) -> Backup | None:
    """Back up, then zero the progress; the cache and data tables stay, unless `everything` goes.

    Rows of data tables keep the digests that their units are found by on the next run. Returns the backup, or None
    where there was nothing to back up.
    """
    before = create(folder, now=now, why="reset") if (folder / DATABASE).exists() else None
    with staged(folder) as stage:
        if everything:
            decide(folder, stage, remove=[*PROGRESS, DATABASE, "cache", "run.log"], place=[])
        else:
            place = _stage_data(folder / DATABASE, stage / DATABASE)
            decide(folder, stage, remove=list(PROGRESS), place=place)
    finish(folder)
    return before


def _stage_data(source: Path, target: Path) -> list[str]:
    """A database with the data tables of `source` and without any progress."""
    if not source.exists():
        return []
    database = Database(source)
    try:
        database.copy_to(target)
    finally:
        database.close()
    staged = Database(target)
    try:
        schema.migrate(staged)
        with staged.transaction():
            _zero(staged)
    finally:
        staged.close()
    return [DATABASE]


def _zero(database: Database) -> None:
    for table in ("phases", "units", "snapshots", "history", "blobs", "meta", "attempts"):
        database.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
    for row in database.rows("SELECT name FROM user_tables WHERE data = 0"):
        database.execute(f"DROP TABLE {quoted(row['name'])}")
    database.execute("DELETE FROM user_tables WHERE data = 0")
    database.execute("DELETE FROM user_rows WHERE name NOT IN (SELECT name FROM user_tables)")
