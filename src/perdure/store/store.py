"""The store of one run: its folder, lock, database, blobs, and the attempt that is writing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perdure import files
from perdure.clock import Clock
from perdure.store import backup, rest, schema, swap
from perdure.store.attempts import Attempts
from perdure.store.blobs import Blobs
from perdure.store.database import DATABASE, Database, Reader, sealed, value_of
from perdure.store.generations import Generations
from perdure.store.journal import Journal
from perdure.store.lock import Holder, Lock
from perdure.store.tables import Tables
from perdure.store.units import Units

FOLDERS = ("snapshots", "blobs", "cache", "exports", "backups")
BACKUP_SECONDS = 300.0  # at most this much change is not in `run.db.backup`
SMALLEST_FREE = 8 << 20  # bytes: below this not even progress can be recorded


@dataclass(slots=True)
class Store:
    """One run's store, opened for writing. All durable changes go through `transaction` and `files.publish`."""

    folder: Path
    clock: Clock
    lock: Lock
    database: Database
    attempts: Attempts
    journal: Journal
    units: Units
    generations: Generations
    blobs: Blobs
    tables: Tables
    recovered: str | None  # what was wrong with the database, if something was
    died: int | None  # the earlier attempt that died without a word
    _backed_up_at: float = 0.0

    @classmethod
    def open(cls, folder: Path, *, clock: Clock, command: Sequence[str] | None = None) -> Store:
        """Take the lock, recover and migrate the database, begin an attempt.

        Raises LockedError, StorageError, FormatError or DamagedError; then nothing was changed.
        """
        files.make_folder(folder)
        lock = Lock(folder / "lock", now=clock.now())
        try:
            store = cls._open_locked(folder, lock, clock)
            rest.forget(folder / DATABASE)
            with store.transaction():
                words = sys.argv if command is None else command
                store.died = store.attempts.begin(Holder.this_process(now=clock.now()), words)
                store.journal.add("attempt begun", killed=store.died, recovered=store.recovered)
        except BaseException:
            lock.release()
            raise
        return store

    @classmethod
    def maintain(cls, folder: Path, *, clock: Clock) -> Store:
        """As `open`, for work on the store itself: no attempt begins, and what was left in order still says so."""
        lock = Lock(folder / "lock", now=clock.now())
        try:
            store = cls._open_locked(folder, lock, clock)
        except BaseException:
            lock.release()
            raise
        row = store.database.row("SELECT max(id) AS id FROM attempts")
        store.attempts.current = int(row["id"] or 0) if row else 0
        return store

    @classmethod
    def _open_locked(cls, folder: Path, lock: Lock, clock: Clock) -> Store:
        swap.finish(folder)
        files.require_space(folder, SMALLEST_FREE, purpose="a run")
        path = folder / DATABASE
        recovered = backup.recover(path)
        _refuse_newer(path)
        for name in FOLDERS:
            files.make_folder(folder / name)
        database = Database(path)
        schema.migrate(database)
        attempts = Attempts(database)
        store = cls(
            folder, clock, lock, database, attempts, Journal(database, attempts, clock),
            Units(database, attempts, clock), Generations(database, attempts, clock),
            Blobs(folder / "blobs", database, clock), Tables(database), recovered, None,
        )  # fmt: skip
        store._backed_up_at = clock.monotonic()
        return store

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One fact, durable when the block ends."""
        with self.database.transaction():
            yield

    def meta(self, key: str) -> object:
        row = self.database.row("SELECT value FROM meta WHERE key = ?", (key,))
        return value_of(row["value"]) if row else None

    def set_meta(self, key: str, value: object) -> None:
        self.database.execute(
            "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)",
            (key, sealed(value) if isinstance(value, dict) else json.dumps(value)),
        )

    def back_up(self, *, only_if_due: bool = False) -> bool:
        """Refresh `run.db.backup`; returns whether it was done."""
        if only_if_due and self.clock.monotonic() - self._backed_up_at < BACKUP_SECONDS:
            return False
        backup.refresh(self.database)
        self._backed_up_at = self.clock.monotonic()
        return True

    def close(self, *, in_order: bool = True) -> None:
        """Let go of the run, and note that it was left `in_order`."""
        try:
            self.database.close()
            if in_order:
                rest.record(self.database.path)
        finally:
            self.lock.release()


def _refuse_newer(path: Path) -> None:
    if not path.exists() or not path.stat().st_size:
        return
    reader = Reader(path)
    try:
        schema.refuse_newer(reader, place=str(path.parent))
    finally:
        reader.close()
