"""After completion: let go of everything but the results.

A rerun of a completed run still says complete, so what it reads stays: the database, the final snapshot of each loop
(it is restored into the live objects), the blobs that recorded results name (steps return them), and `exports/`.
Earlier snapshots, blobs that no result names any more, raw data in `cache/`, files set aside as damaged and
half-written ones go. Backups stay: they were asked for, and are removed by hand.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from perdure import files
from perdure.errors import UsageError
from perdure.store.check import BlobsOf, is_completed, leftovers, set_aside, unreferenced
from perdure.store.database import DATABASE, Reader
from perdure.store.generations import path_of
from perdure.store.store import Store


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed."""

    files: int
    size: int  # bytes


def clean(store: Store, *, blobs_of: BlobsOf) -> Cleaned:
    """Remove all but results, whose documents `blobs_of` reads. Raises UsageError when the run is not completed."""
    reader = Reader(store.folder / DATABASE)
    try:
        if not is_completed(reader):
            raise UsageError(
                f"run {store.folder} is not completed, so every file of it may still be needed; let it finish first"
            )
        blobs = unreferenced(reader, blobs_of=blobs_of)
        removable = [*_let_go(store, blobs), *leftovers(store.folder, reader), *set_aside(store.folder)]
    finally:
        reader.close()
    store.back_up()  # it must not name files that go next
    removable += [path for path in (store.folder / "cache").rglob("*") if path.is_file() or path.is_symlink()]
    sizes = {path: path.lstat().st_size for path in removable if path.exists() or path.is_symlink()}
    for path in sizes:
        files.remove(path)
    shutil.rmtree(store.folder / "cache", ignore_errors=True)
    files.make_folder(store.folder / "cache")
    return Cleaned(len(sizes), sum(sizes.values()))


def _let_go(store: Store, blobs: list[tuple[str, str]]) -> list[Path]:
    """Unrecord what goes, in one transaction; returns its files."""
    paths = [store.folder / "blobs" / f"{digest}{suffix}" for digest, suffix in blobs]
    with store.transaction():
        for digest, _ in blobs:
            store.database.execute("DELETE FROM blobs WHERE digest = ?", (digest,))
        for loop in store.generations.loops():
            for generation in store.generations.kept(loop)[:-1]:
                store.generations.mark(loop, generation.number, "removed")
                paths.append(path_of(store.folder, loop, generation.number))
        store.journal.add("cleaned", files=len(paths))
    return paths
