"""Tables of `run.db`, and the migrations that lead to them. The format is described in docs/format.md."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Protocol

from perdure.errors import DamagedError, FormatError
from perdure.store.database import Database, Reader, Row, is_sound, parsed, quoted, unsealed, value_of

_DOCUMENTS: tuple[tuple[str, str, Callable[[str], object]], ...] = (
    ("fingerprint", "phases", unsealed), ("value", "meta", value_of), ("parts", "snapshots", unsealed),
    ("columns", "user_tables", parsed),
)  # fmt: skip
_WORDS = (
    ("kind", "phases", ("step", "map", "each", "range")),
    ("state", "phases", ("running", "completed")),
    ("state", "units", ("done", "failed", "redo")),
    ("state", "snapshots", ("kept", "removed", "damaged", "superseded")),
)
_OF_PHASES = (("phase", "units"), ("loop", "snapshots"))
FORMAT = 1  # of run.db and of the folder around it

_CORE = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY, started_at REAL NOT NULL, seen_at REAL NOT NULL, ended_at REAL,
    seconds REAL NOT NULL DEFAULT 0, pid INTEGER NOT NULL, process_started REAL NOT NULL, boot TEXT NOT NULL,
    host TEXT NOT NULL, command TEXT NOT NULL, outcome TEXT NOT NULL DEFAULT 'running', exit_code INTEGER,
    lost_seconds REAL NOT NULL DEFAULT 0, saving_seconds REAL NOT NULL DEFAULT 0) STRICT;
CREATE TABLE phases (
    path TEXT PRIMARY KEY, ordinal INTEGER NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, total INTEGER,
    fingerprint TEXT NOT NULL, data INTEGER NOT NULL DEFAULT 0, ended INTEGER NOT NULL DEFAULT 0,
    started_at REAL NOT NULL, seconds REAL NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE units (
    phase TEXT NOT NULL, key TEXT NOT NULL, position INTEGER NOT NULL, state TEXT NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, document TEXT, digest TEXT, reason TEXT, seconds REAL NOT NULL DEFAULT 0,
    at REAL NOT NULL, attempt INTEGER NOT NULL, PRIMARY KEY (phase, key)) STRICT, WITHOUT ROWID;
CREATE TABLE snapshots (
    loop TEXT NOT NULL, generation INTEGER NOT NULL, position INTEGER NOT NULL, stream INTEGER NOT NULL,
    batch INTEGER NOT NULL, final INTEGER NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL,
    parts TEXT NOT NULL, logged INTEGER NOT NULL, inserted INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'kept', stall_seconds REAL NOT NULL,
    at REAL NOT NULL, attempt INTEGER NOT NULL, PRIMARY KEY (loop, generation)) STRICT, WITHOUT ROWID;
CREATE TABLE history (
    loop TEXT NOT NULL, seq INTEGER NOT NULL, position INTEGER NOT NULL, entry TEXT NOT NULL, at REAL NOT NULL,
    attempt INTEGER NOT NULL, PRIMARY KEY (loop, seq)) STRICT, WITHOUT ROWID;
CREATE TABLE blobs (digest TEXT PRIMARY KEY, suffix TEXT NOT NULL, size INTEGER NOT NULL, at REAL NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE TABLE user_tables (name TEXT PRIMARY KEY, columns TEXT NOT NULL, data INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE user_rows (
    name TEXT NOT NULL, phase TEXT NOT NULL, key TEXT NOT NULL, position INTEGER NOT NULL, rows INTEGER NOT NULL,
    fingerprint TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (name, phase, key)) STRICT, WITHOUT ROWID;
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, at REAL NOT NULL, attempt INTEGER NOT NULL, event TEXT NOT NULL,
    subject TEXT NOT NULL, detail TEXT NOT NULL) STRICT;
CREATE TRIGGER journal_is_append_only_1 BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_append_only_2 BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
"""


class _Writable(Protocol):
    def execute(self, sql: str) -> object: ...


def _create_core(database: _Writable) -> None:
    for statement in _statements(_CORE):
        database.execute(statement)


def _statements(script: str) -> list[str]:
    """Single statements; a trigger's body holds a semicolon of its own."""
    parts, pending = [], ""
    for piece in script.split(";"):
        pending += piece + ";"
        if "BEGIN SELECT" in pending and "END" not in pending:
            continue
        if pending.strip(" \n;"):
            parts.append(pending)
        pending = ""
    return parts


MIGRATIONS: tuple[Callable[[_Writable], None], ...] = (_create_core,)
assert len(MIGRATIONS) == FORMAT
CORE_TABLES = frozenset(line.split()[2] for line in _CORE.splitlines() if line.startswith("CREATE TABLE")) | {
    "sqlite_sequence"
}


class _Readable(Protocol):
    def row(self, sql: str) -> Row | None: ...

    def rows(self, sql: str) -> list[Row]: ...


def format_of(database: _Readable) -> int:
    """The format number in a database's header; 0 in an empty one."""
    row = database.row("PRAGMA user_version")
    return int(row[0]) if row else 0


def refuse_newer(database: _Readable, *, place: str) -> None:
    """Raise FormatError for a run that a newer perdure has written; nothing is touched."""
    found = format_of(database)
    if found > FORMAT:
        raise FormatError(
            f"{place} has run format {found}, and this perdure reads up to {FORMAT}; "
            "install the perdure that wrote it, or a newer one (nothing was touched)"
        )


def migrate(database: Database) -> None:
    """Bring an older or empty database to this format, each step recorded in the transaction that takes it."""
    for number in range(format_of(database) + 1, FORMAT + 1):
        with database.transaction():
            MIGRATIONS[number - 1](database)
            database.execute(f"PRAGMA user_version={number}")


def is_whole(path: Path) -> bool:
    """Whether the database is sound, its tables are defined as its format defines them, and its documents are whole.

    A database of a newer format is: what it should be is not known here.
    """
    if not is_sound(path):
        return False
    reader = Reader(path)
    try:
        version = format_of(reader)
        found = {(row["name"], row["sql"]) for row in reader.rows("SELECT name, sql FROM sqlite_master")}
        return not 0 < version <= FORMAT or (_definitions(version) <= found and not damaged_record(reader))
    except DamagedError:
        return False
    finally:
        reader.close()


def damaged_record(reader: _Readable) -> str:
    """What is wrong with the first record that a start relies on; empty where all of them are whole."""
    try:
        for column, table, opened in _DOCUMENTS:
            for row in reader.rows(f"SELECT {column} FROM {table}"):  # noqa: S608 - names of our own
                opened(row[0])
        for column, table in _OF_PHASES:
            for name in _others(reader, column, table, "(SELECT path FROM phases)"):
                return f"{table} has a record of {name!r}, which is no phase"
        for column, table, words in _WORDS:
            for word in _others(reader, column, table, str(words)):
                return f"{table} has the {column} {word!r}, which there is not"
        for row in reader.rows("SELECT name, columns FROM user_tables"):
            there = {found["name"] for found in reader.rows(f"PRAGMA table_info({quoted(row['name'])})")}
            if lost := {name for name, _ in parsed(row["columns"])} - there:
                return f"table {row['name']!r} has no column {min(lost)!r}"
    except (DamagedError, ValueError, TypeError) as error:
        return str(error)
    return ""


def _others(reader: _Readable, column: str, table: str, known: str) -> list[object]:
    """One value of a column that is not among the known ones, if there is such."""
    query = f"SELECT {column} FROM {table} WHERE {column} NOT IN {known} LIMIT 1"  # noqa: S608 - names of our own
    return [row[0] for row in reader.rows(query)]


@cache
def _definitions(version: int) -> frozenset[tuple[str, str | None]]:
    connection = sqlite3.connect(":memory:")
    try:
        for migration in MIGRATIONS[:version]:
            migration(connection)
        return frozenset(connection.execute("SELECT name, sql FROM sqlite_master"))
    finally:
        connection.close()
