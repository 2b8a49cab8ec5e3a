"""The SQLite connection: WAL, synchronous=FULL, one writer, re-entrant transactions.

SQLite before 3.51.3 can lose a commit when several connections checkpoint a write-ahead log at once; so one
connection writes and checkpoints, and every reader opens read-only.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from perdure.errors import DamagedError, PerdureError, StorageError, UsageError
from perdure.files import storage_error
from perdure.seams import seam

DATABASE = "run.db"
Row = sqlite3.Row
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNREADABLE = _DAMAGE | {sqlite3.SQLITE_ERROR}  # a header that names a format which SQLite does not know
_DOUBLED = {sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY}  # by a key that changed
_SMALLEST_PAGE = 512  # bytes
_SEAL = ""  # the key of a document's own digest; no part of one has an empty name
_DURABLE = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
_REQUIRED = dict(_DURABLE, fullfsync=1, checkpoint_fullfsync=1) if sys.platform == "darwin" else _DURABLE


class Database:
    """The only connection that writes `run.db`. Threads of the process share it under one lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.RLock()
        self._depth = 0
        self._process = os.getpid()
        with _translated(path):
            self._connection = self._connect()

    def _connect(self) -> sqlite3.Connection:
        _create_private(self.path)
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.row_factory = sqlite3.Row
        for name, wanted in _REQUIRED.items():
            connection.execute(f"PRAGMA {name}={wanted}")
            found = connection.execute(f"PRAGMA {name}").fetchone()[0]
            if found != wanted:
                raise StorageError(
                    f"{self.path}: SQLite keeps {name}={found} where {wanted} is needed for durability; "
                    "put the run on a local disk (network drives cannot keep it)"
                )
        return connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, on disk when the block ends. Inner blocks join the outer one."""
        with self._mutex, _translated(self.path):
            if self._depth:
                yield
                return
            if os.getpid() != self._process:
                raise UsageError(
                    f"{self.path} is open for writing in process {self._process}, and a fork of it, {os.getpid()}, "
                    "tried to write; use the run in the process that opened it"
                )
            self._depth = 1
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                seam("commit.before")
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            finally:
                self._depth = 0
        seam("commit.after")

    def execute(self, sql: str, values: Sequence[object] = ()) -> None:
        """Change something, inside a transaction."""
        assert self._depth, "writes belong into `with database.transaction()`"
        self._connection.execute(sql, values)

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        assert self._depth, "writes belong into `with database.transaction()`"
        self._connection.executemany(sql, rows)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        with self._mutex, _translated(self.path):
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        return next(iter(self.rows(sql, values)), None)

    def copy_to(self, path: Path) -> None:
        """SQLite's online backup into a new file, complete and synced."""
        with self._mutex, _translated(path):
            _create_private(path)
            target = sqlite3.connect(path, isolation_level=None)
            try:
                self._connection.backup(target)
                target.execute("PRAGMA journal_mode=delete")  # one self-contained file
            finally:
                target.close()

    def close(self) -> None:
        """Empty the log into the database, though somebody may look on: then SQLite would leave it."""
        with self._mutex:
            with suppress(sqlite3.Error):  # what stays in the log counts all the same
                self._connection.execute("PRAGMA busy_timeout=100")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()


class Reader:
    """A read-only connection; any number of them may be open while a run writes.

    `immutable` leaves no side files behind, and reads where nothing may be written. It is for a database that no
    process writes and that has no write-ahead log.
    """

    def __init__(self, path: Path, *, immutable: bool = False) -> None:
        self.path = path
        with _translated(path):
            uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
            self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10)
            self._connection.row_factory = sqlite3.Row
            # ATTACH and VACUUM INTO would write elsewhere.
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            self._connection.execute("PRAGMA query_only=1")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One consistent view for several queries."""
        with _translated(self.path):
            self._connection.execute("BEGIN")
            try:
                yield
            finally:
                self._connection.execute("ROLLBACK")

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        with _translated(self.path):
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        return next(iter(self.rows(sql, values)), None)

    def query(self, sql: str) -> tuple[list[str], list[tuple[object, ...]]]:
        """A person's own SQL: column names and rows. SQL mistakes are raised as sqlite3.Error."""
        cursor = self._connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        return names, [tuple(row) for row in cursor.fetchall()]

    def close(self) -> None:
        self._connection.close()


def is_sound(path: Path) -> bool:
    """Whether SQLite finds the database whole: readable, and consistent in its pages, indexes and header.

    Raises StorageError when that cannot be told (no permission, too many open files): then it is not damage.
    """
    with _translated(path):
        if path.is_file() and path.stat().st_size < _SMALLEST_PAGE:
            return False  # SQLite would take what is left of it for a new and empty database
        try:
            # a process that died before the database had a write-ahead log left a journal that SQLite must undo
            mode = "rw" if path.with_name(f"{path.name}-journal").exists() else "ro"
            connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True)
            try:
                checked = [tuple(row) for row in connection.execute("PRAGMA integrity_check(1)")]
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
                (page,) = connection.execute("PRAGMA page_size").fetchone()
                return checked == [("ok",)] and bool(version) == bool(tables) and not _is_cut(path, page)
            finally:
                connection.close()
        except UnicodeDecodeError:  # SQLite quotes what it cannot read
            return False
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _UNREADABLE:
                return False
            raise


def _is_cut(path: Path, page: int) -> bool:
    """Whether the end of the last page is missing, where SQLite reads zeros. With a log, that page may be in there."""
    logs = (path.with_name(f"{path.name}-{kind}") for kind in ("wal", "journal"))
    return bool(path.stat().st_size % page) and not any(log.exists() and log.stat().st_size for log in logs)


def parsed(text: str) -> Any:
    """A JSON document out of a row. Raises DamagedError: only damage leaves another text there."""
    try:
        return json.loads(text)
    except (ValueError, TypeError) as error:
        raise _damaged_record(text, str(error)) from error


def sealed(document: Mapping[str, object]) -> str:
    """A document for a row, with a digest of itself: a flipped bit is told from another value."""
    return json.dumps({**document, _SEAL: _seal(document)})


def unsealed(text: str) -> dict[str, Any]:
    """A document out of a row. Raises DamagedError where it is not what was sealed; one without a seal is taken."""
    document = parsed(text)
    if not isinstance(document, dict):
        raise _damaged_record(text, "it is no document")
    found = document.pop(_SEAL, None)
    if found is not None and found != _seal(document):
        raise _damaged_record(text, "it does not match its digest")
    return document


def value_of(text: str) -> Any:
    """A setting out of the table `meta`: a sealed document, or another JSON value."""
    return unsealed(text) if text.startswith("{") else parsed(text)


def _seal(document: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _damaged_record(text: object, reason: str) -> DamagedError:
    return DamagedError(
        f"{DATABASE} holds a damaged record ({str(text)[:40]!r}...: {reason}); `perdure verify --repair` mends what it "
        "can, and `perdure backups` lists what can be restored"
    )


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def _create_private(path: Path) -> None:
    if path.exists():
        return
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    try:
        os.close(os.open(path, flags, 0o600))  # SQLite gives its side files the same mode
    except OSError as error:
        raise storage_error(error, path) from error


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's and the system's errors as perdure's own."""
    try:
        yield
    except PerdureError:
        raise
    except UnicodeDecodeError as error:  # SQLite quotes what it cannot read
        raise DamagedError(
            f"{path} is damaged (it holds text that is none); run `perdure verify --repair {path.parent}`"
        ) from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        if isinstance(error, sqlite3.OperationalError) and code is None:  # text that is no UTF-8
            code = sqlite3.SQLITE_CORRUPT
        if code is None or isinstance(error, sqlite3.ProgrammingError):
            raise
        if code & 0xFF in _DAMAGE or code in _DOUBLED:
            raise DamagedError(
                f"{path} is damaged ({name}: {error}); run `perdure verify --repair {path.parent}`"
            ) from error
        if code & 0xFF in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}:
            raise
        raise StorageError(
            f"cannot use {path} ({name}: {error}); check free space, permissions and the disk, "
            "then run the same command again; everything saved before is intact"
        ) from error
