"""The database of the registry: one file beside the run folders, written by any process, one at a time.

It has a rollback journal and not a write-ahead log: several processes write here, and SQLite before 3.51.3 can lose a
commit when two connections checkpoint a write-ahead log at once. synchronous=EXTRA also syncs the folder after the
journal is gone, so that a commit survives a power cut. There are a few writes a day; their cost does not matter.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from perdure import files
from perdure.errors import DamagedError, FormatError, LockedError, PerdureError, StorageError
from perdure.seams import seam

FORMAT = 1
MODELS = "models"  # the folder beside it
_PATIENCE = 30.0  # seconds to wait for another process's transaction
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_REQUIRED = {"journal_mode": "delete", "synchronous": 3, "foreign_keys": 1} | (
    {"fullfsync": 1} if sys.platform == "darwin" else {}
)
_TABLES = (
    """CREATE TABLE IF NOT EXISTS trial (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL, run TEXT NOT NULL,
        config TEXT NOT NULL, metrics TEXT NOT NULL, at REAL NOT NULL, UNIQUE (name, digest)) STRICT""",
    """CREATE TABLE IF NOT EXISTS model_version (
        name TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL, path TEXT NOT NULL,
        feature_digest TEXT NOT NULL, trained_until TEXT NOT NULL, run TEXT NOT NULL, metrics TEXT NOT NULL,
        created_at REAL NOT NULL, PRIMARY KEY (name, version), UNIQUE (name, digest)) STRICT""",
    """CREATE TABLE IF NOT EXISTS deployment (
        number INTEGER PRIMARY KEY, name TEXT NOT NULL, action TEXT NOT NULL CHECK (action IN ('promote', 'rollback')),
        version INTEGER NOT NULL, replaced INTEGER, before INTEGER REFERENCES deployment (number),
        who TEXT NOT NULL, at REAL NOT NULL, reason TEXT, forced INTEGER NOT NULL CHECK (forced IN (0, 1)),
        FOREIGN KEY (name, version) REFERENCES model_version (name, version)) STRICT""",
    """CREATE TABLE IF NOT EXISTS alias (
        name TEXT NOT NULL, alias TEXT NOT NULL CHECK (alias IN ('champion', 'challenger')),
        version INTEGER NOT NULL, previous INTEGER, promotion INTEGER REFERENCES deployment (number),
        PRIMARY KEY (name, alias), FOREIGN KEY (name, version) REFERENCES model_version (name, version)) STRICT""",
    """CREATE TABLE IF NOT EXISTS gate_result (
        judgement INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, against INTEGER,
        check_name TEXT NOT NULL, verdict TEXT NOT NULL CHECK (verdict IN ('passed', 'warned', 'failed')),
        value REAL, threshold REAL, text TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (judgement, check_name),
        FOREIGN KEY (name, version) REFERENCES model_version (name, version)) STRICT""",
    """CREATE TABLE IF NOT EXISTS lockbox_opening (
        number INTEGER PRIMARY KEY, run TEXT NOT NULL, at REAL NOT NULL, why TEXT NOT NULL) STRICT""",
)


_DOCUMENTS = {"trial": "config, metrics", "model_version": "metrics"}


class Ledger:
    """One connection to the database at `path`, which is created where it is missing.

    Raises FormatError for one that a newer perdure wrote; every method raises DamagedError, StorageError or
    LockedError (another process kept the database for longer than 30 s) for what SQLite reports.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _create_private(path)
        with _translated(path):
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=_PATIENCE)
            self._connection.row_factory = sqlite3.Row
            for name, wanted in _REQUIRED.items():
                self._connection.execute(f"PRAGMA {name}={wanted}")
        self._prepare()

    def _prepare(self) -> None:
        if self._format() == FORMAT:
            self._require_whole()
            return
        with self.transaction():
            if self._format() > FORMAT:
                raise FormatError(
                    f"{self.path} has format {self._format()} and this perdure reads format {FORMAT}; use the newer "
                    "perdure that wrote it"
                )
            for statement in _TABLES:
                self.execute(statement)
            self.execute(f"PRAGMA user_version={FORMAT}")

    def _require_whole(self) -> None:
        """It is read whole, which costs a moment: a registry has some hundred rows."""
        problem = self.rows("PRAGMA integrity_check(1)")[0][0]
        if problem != "ok":
            raise _damaged(self.path, problem)
        if not _definitions() <= {row["sql"] for row in self.rows("SELECT sql FROM sqlite_master")}:
            raise _damaged(self.path, "its tables are defined otherwise")
        try:
            for table, columns in _DOCUMENTS.items():
                for row in self.rows(f"SELECT {columns} FROM {table}"):  # noqa: S608 - names of our own
                    for text in row:
                        json.loads(text)
        except ValueError as error:
            raise _damaged(self.path, str(error)) from error

    def _format(self) -> int:
        return int(self.rows("PRAGMA user_version")[0][0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on disk when the block ends; other processes wait."""
        with _translated(self.path):
            seam("registry.begin")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                seam("registry.commit")
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        seam("registry.committed")

    def execute(self, sql: str, values: Sequence[object] = ()) -> None:
        """Change something, inside a transaction."""
        assert self._connection.in_transaction, "writes belong into `with ledger.transaction()`"
        seam("registry.statement")
        self._connection.execute(sql, values)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        with _translated(self.path):
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[object] = ()) -> sqlite3.Row | None:
        return next(iter(self.rows(sql, values)), None)

    def close(self) -> None:
        self._connection.close()


def _create_private(path: Path) -> None:
    files.make_folder(path.parent)
    if path.exists():
        if not path.stat().st_size and any((path.parent / MODELS).glob("*.zip")):
            raise _damaged(path, "it is empty, and there are models beside it")
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        files.sync_folder(path.parent)
    except OSError as error:
        raise files.storage_error(error, path) from error


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot read
        raise _damaged(path, "it holds text that is none") from error
    except sqlite3.Error as error:
        raise _as_ours(error, path) from error


def _damaged(path: Path, reason: object) -> DamagedError:
    return DamagedError(
        f"{path} is damaged ({reason}); put a copy of it in its place, or move it away: the models beside it in "
        f"{MODELS}/ are whole files of their own"
    )


@cache
def _definitions() -> frozenset[str]:
    connection = sqlite3.connect(":memory:")
    try:
        for statement in _TABLES:
            connection.execute(statement)
        return frozenset(
            row[0] for row in connection.execute("SELECT sql FROM sqlite_master WHERE sql NOT NULL")
        )
    finally:
        connection.close()


def _as_ours(error: sqlite3.Error, path: Path) -> PerdureError:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code in _DAMAGE or (not code and isinstance(error, sqlite3.OperationalError)):  # text that is no UTF-8
        return _damaged(path, error)
    if code in _BUSY:
        return LockedError(f"another process has kept {path} for more than {_PATIENCE:.0f} s; try again")
    return StorageError(
        f"cannot use {path} ({error}); check the disk's free space and the file's owner and mode, then run the same "
        "command again; everything recorded before is intact"
    )
