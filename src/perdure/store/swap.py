"""Put another state in the place of a run's, whoever is killed: one rename decides, and `finish` carries it out.

`finish` may be killed and repeated, and every opening of a run does so first. What lies in a run's folder may come
from somebody else: a swap touches the parts of a run and nothing outside.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from perdure import files
from perdure.errors import DamagedError
from perdure.seams import seam
from perdure.store import backup, rest
from perdure.store.database import DATABASE

INCOMING = ".incoming"  # a decided swap
PARTS = ("snapshots", "blobs", "exports")
SIDE_FILES = (f"{DATABASE}-wal", f"{DATABASE}-shm")
PROGRESS = (*SIDE_FILES, f"{DATABASE}{rest.SUFFIX}", backup.NAME, *PARTS)
LARGEST = 256 << 20  # bytes of a manifest or plan
_PARTS = frozenset({DATABASE, *PROGRESS, "cache", "run.log"})  # what a swap may touch
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


class staged:  # noqa: N801 - used like a function
    """A fresh folder beside what it will replace; removed unless the swap was decided."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f".incoming.{secrets.token_hex(4)}{files.TEMPORARY}"

    def __enter__(self) -> Path:
        files.make_folder(self.path)
        return self.path

    def __exit__(self, *_: object) -> None:
        clear(self.path)


def decide(folder: Path, stage: Path, *, remove: list[str], place: list[str]) -> None:
    """From this rename on the swap will happen, whoever is killed."""
    plan = json.dumps({"remove": [name for name in remove if name not in place], "place": place}).encode()
    files.publish(stage / "plan.json", [plan], kind="swap")
    seam("swap.decide")
    move(stage, folder / INCOMING)


def finish(folder: Path) -> bool:
    """Carry out a decided swap, and remove what was never decided; returns whether there was a swap."""
    abandoned = [*folder.glob(f"{INCOMING}.*"), *(folder / "backups").glob(f".*{files.TEMPORARY}")]
    for path in abandoned:  # its maker died: it would hold the lock
        clear(path)
    incoming = folder / INCOMING
    if incoming.is_symlink() or not incoming.is_dir():
        return False
    remove, place = _plan(incoming)
    for name in remove:
        clear(folder / name)
    for name in place:
        if (incoming / name).exists():
            clear(folder / name)
            seam("swap.place")
            move(incoming / name, folder / name)
    done = folder / f".incoming.{secrets.token_hex(4)}{files.TEMPORARY}"
    move(incoming, done)  # the plan goes at once, or not at all
    clear(done)
    return True


def _plan(incoming: Path) -> tuple[list[str], list[str]]:
    """What a swap removes and what it puts there: parts of a run, whoever wrote the plan. Raises DamagedError."""
    try:
        plan = json.loads(read_bounded(incoming / "plan.json"))
        remove, place = list(plan["remove"]), list(plan["place"])
        strange = [name for name in (*remove, *place) if name not in _PARTS]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        problem = f"has no readable plan ({type(error).__name__}: {error})"
    else:
        if not strange:
            return remove, place
        problem = f"would touch {strange[0]!r}, which is not part of a run"
    raise DamagedError(
        f"{incoming} {problem}, so the restore or reset that it belongs to cannot be finished; nothing was touched: "
        f"move it away, then look with `perdure verify {incoming.parent}`"
    )


def move(source: Path, target: Path) -> None:
    """Rename, durably. Raises StorageError."""
    _storing(lambda: source.replace(target), target)
    _storing(lambda: files.sync_folder(target.parent), target)


def clear(path: Path) -> None:
    """Remove a file, a link or a whole folder; links are never followed."""
    if path.is_symlink() or path.is_file():
        files.remove(path)
    elif path.is_dir():
        _storing(lambda: shutil.rmtree(path), path)


def _storing(act: Callable[[], object], path: Path) -> None:
    try:
        act()
    except OSError as error:
        raise files.storage_error(error, path) from error


def read_bounded(path: Path) -> bytes:
    """A small file whose size nobody vouches for. Raises OSError, ValueError or DamagedError."""
    with os.fdopen(open_regular(path), "rb") as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"more than {LARGEST} bytes")
    return content


def open_regular(path: Path) -> int:
    """A descriptor of a regular file; never of a link, nor of a pipe, which would wait, or a device."""
    descriptor = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise DamagedError(f"{path} is not a regular file; nothing was changed")
    return descriptor
