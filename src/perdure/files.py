"""Durable files: `publish` is the only way by which perdure puts a file in its place.

A file is written aside, synced, renamed to its final name, and the folder is synced. Each of these is a seam,
so that tests can kill the process between any two of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from perdure.errors import StorageError, UsageError
from perdure.seams import seam

Content = bytes | bytearray | memoryview
CHUNK = 2 << 20  # bytes at a time: large enough to be fast, small enough to start the disk early
_WORTH_BEGINNING = 1 << 18  # bytes: for less the disk is not set to work before the sync
_NEW_FILE = os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
TEMPORARY = ".tmp"


def publish(path: Path, content: Iterable[Content], *, kind: str) -> int:
    """Write `content` to `path` so that it is either there completely, on disk, or not there at all.

    kind names the seams (`{kind}.create`, `.sync`, `.rename`, `.folder`, `.published`). Returns the size in bytes.
    Raises StorageError; then nothing is left behind, and an older file of that name is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        seam(f"{kind}.create")
        size = _write_new(temporary, content, kind=kind)
        seam(f"{kind}.rename")
        _rename(temporary, path)
        seam(f"{kind}.folder")
        sync_folder(path.parent)
    except BaseException as error:
        remove(temporary)  # after a failed sync its pages may be gone: never used, never synced again
        if isinstance(error, OSError):
            raise storage_error(error, path) from error
        raise
    seam(f"{kind}.published")
    return size


def _write_new(temporary: Path, content: Iterable[Content], *, kind: str) -> int:
    size = 0
    descriptor = os.open(temporary, os.O_WRONLY | _NEW_FILE | _BINARY, 0o600)
    try:
        for chunk in content:
            size += _write_all(descriptor, memoryview(chunk).cast("B"))
        seam(f"{kind}.sync")
        sync(descriptor)
    finally:
        os.close(descriptor)
    return size


def private(path: str, flags: int) -> int:
    """An opener for `open`: a new file is the user's alone, and a link is refused."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0), 0o600)


def _write_all(descriptor: int, view: memoryview) -> int:
    written = 0
    while written < len(view):  # a write may be short
        size = os.write(descriptor, view[written : written + CHUNK])
        written += size
        if size >= _WORTH_BEGINNING:
            _begin_write_back(descriptor, size)
    return written


def _begin_write_back(descriptor: int, size: int) -> None:
    """Let the disk work on the last `size` bytes while more are written: the sync then waits for the rest only.

    On Linux POSIX_FADV_DONTNEED does so; it drops pages that are clean already, which these are not yet.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a hint; whether the bytes arrived is what the sync says
            end = os.lseek(descriptor, 0, os.SEEK_CUR)
            os.posix_fadvise(descriptor, end - size, size, os.POSIX_FADV_DONTNEED)


def _rename(source: Path, target: Path) -> None:
    for pause in (0.05, 0.1, 0.2, 0.4, 0.8, 0):
        try:
            source.replace(target)
        except PermissionError:  # on Windows a virus scanner or indexer may hold the file for a moment
            if os.name != "nt" or not pause:
                raise
            time.sleep(pause)
        else:
            return


def sync(descriptor: int) -> None:
    """Force a file's bytes to the disk; on macOS through the drive's own cache too."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def sync_folder(folder: Path) -> None:
    """Force a folder's names to the disk. Windows has no such call, and journals renames itself."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a private folder (0700) and its parents, durably. Refuses one that another user owns."""
    try:
        missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
        for parent in reversed(missing):
            parent.mkdir(mode=0o700, exist_ok=True)
            sync_folder(parent.parent)
    except OSError as error:
        raise storage_error(error, folder) from error
    _refuse_foreign(folder)


def _refuse_foreign(folder: Path) -> None:
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; choose another place for the run")
    if sys.platform == "win32":
        return
    owner = folder.stat().st_uid
    if owner != os.geteuid():
        raise UsageError(
            f"folder {folder} belongs to user {owner}, and you are user {os.geteuid()}; "
            "choose a folder of your own, or change its owner"
        )


def is_world_writable(folder: Path) -> bool:
    """Whether any user of the machine may write into `folder` (Windows mounts look so)."""
    return sys.platform != "win32" and bool(folder.stat().st_mode & stat.S_IWOTH)


def remove(path: Path) -> None:
    """Remove a file that may not exist."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.EROFS, errno.EACCES, errno.EPERM}:
            raise storage_error(error, path) from error


def set_aside(path: Path) -> Path:
    """Rename a damaged file to `<name>.damaged-N`, so that nobody reads it and nothing is lost."""
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    try:
        path.replace(aside)
        sync_folder(path.parent)
    except OSError as error:
        raise storage_error(error, path) from error
    return aside


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise storage_error(error, path) from error


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write below `folder`, which may not exist yet."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def require_space(folder: Path, needed: int, *, purpose: str) -> None:
    """Stop early and clearly when `needed` bytes are not free."""
    free = free_bytes(folder)
    if free < needed:
        raise StorageError(
            f"{folder} has {free / 1e6:.1f} MB free and {purpose} needs {needed / 1e6:.1f} MB; free some space "
            "(`perdure doctor` lists what takes it) and run the same command again; everything saved is intact"
        )


_ADVICE = {
    errno.ENOSPC: "the disk is full; free some space",
    errno.EDQUOT: "the disk quota is used up; free some space",
    errno.EROFS: "the file system is read-only; make it writable",
    errno.EACCES: "permission was denied; check the folder's owner and mode",
    errno.EPERM: "permission was denied; check the folder's owner and mode",
    errno.EFBIG: "the file would exceed the size limit (`ulimit -f`); raise it",
    errno.EMFILE: "too many files are open (`ulimit -n`); raise the limit",
    errno.ENFILE: "the system has too many files open; close some programs",
    errno.ELOOP: "it is a link, and perdure follows none; put the file itself there",
    errno.EIO: "the device failed to read or write; check its health and its cables",
}


def storage_error(error: OSError, path: Path) -> StorageError:
    """Say what failed, where, what to do, and that nothing saved is lost."""
    advice = _ADVICE.get(error.errno or 0) or f"{error.strerror or error}; put that right"
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    free = _free_or_unknown(path.parent)
    return StorageError(
        f"cannot use {path}: {advice} ({name}, {free}), then run the same command again; "
        "everything saved before is intact"
    )


def _free_or_unknown(folder: Path) -> str:
    try:
        return f"{free_bytes(folder) / 1e6:.1f} MB free"
    except OSError:
        return "free space unknown"


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_-.")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))}
_LONGEST_NAME = 120


def is_portable(name: str) -> bool:
    """Whether every system takes this as a file's name: Windows reserves some names, and some characters."""
    reserved = name.partition(".")[0].strip().lower() in _RESERVED
    return (
        not reserved and name == name.rstrip(" .") and not any(c in '<>:"|?*\\' or ord(c) < 32 for c in name)
    )


def name_for(text: str) -> str:
    """A file name for any text: readable where possible, the same on every system, never two texts in one name."""
    plain = "".join(c if c in _PLAIN else "~" if c == "/" else "_" for c in text.lower())
    if plain == text.replace("/", "~") and "~" not in text and len(plain) <= _LONGEST_NAME:
        stem = plain.partition(".")[0]
        if stem not in _RESERVED and plain == plain.strip(" .") and plain:
            return plain
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    # no plain name has a '+', so that nobody can name a unit like this
    return f"{plain[:60].replace('.', '_').strip()}+{mark}"
