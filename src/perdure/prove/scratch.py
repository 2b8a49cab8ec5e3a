"""The folder that a proof makes its runs in: gone with the proof, or with the next one when it was killed itself."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from perdure import files
from perdure.errors import PerdureError, UsageError
from perdure.store.lock import Lock, read_holder

_PREFIX = "perdure-prove-"
_LOCK = "lock"


@contextmanager
def scratch(keep: Path | None) -> Iterator[Path]:
    """A private folder, removed in the end; or the new folder `keep`, which stays.

    Raises UsageError if that is not new.
    """
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise UsageError(f"--keep {keep} is there already and not empty; name a new folder")
        files.make_folder(keep.absolute())
        yield keep.absolute()
        return
    _remove_stale()
    place = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = Lock(place / _LOCK, now=time.time())
    try:
        yield place
    finally:
        lock.release()
        shutil.rmtree(place, ignore_errors=True)


def _remove_stale() -> None:
    """Folders of proofs that were killed: nobody holds their lock, and they once said who did."""
    for place in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if not _is_ours(place) or read_holder(place / _LOCK) is None:
            continue
        try:
            Lock(place / _LOCK, now=time.time()).release()
        except PerdureError:  # a proof that goes on
            continue
        shutil.rmtree(place, ignore_errors=True)


def _is_ours(place: Path) -> bool:
    """A folder of this user and no link: anyone may put things beside it."""
    if place.is_symlink() or not place.is_dir():
        return False
    return not hasattr(os, "getuid") or place.stat().st_uid == os.getuid()
