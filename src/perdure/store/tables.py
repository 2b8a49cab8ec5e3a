"""The user's own tables, in the same database and the same transactions as the progress that they belong to.

Each row carries the phase, the position of its unit (or of its loop) and its number, so that the order of a table
does not depend on the order in which workers finished.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.errors import StateError, UsageError
from perdure.store.database import Database, Row, parsed, quoted
from perdure.store.schema import CORE_TABLES

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_OWN = ("_phase", "_position", "_row")  # columns that perdure adds
_SQL_TYPES = {int: "INTEGER", float: "REAL", str: "TEXT", bytes: "BLOB"}


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as SQL values; `types` holds an SQL type per column ('' where every value is NULL)."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    values: list[tuple[object, ...]]

    def digest(self) -> str:
        hasher = hashlib.sha256(json.dumps(self.columns if self.values else ()).encode())
        for row in self.values:
            hasher.update(json.dumps(row, default=_hexadecimal).encode())
        return hasher.hexdigest()


def _hexadecimal(value: object) -> dict[str, str]:
    assert isinstance(value, bytes)
    return {"bytes": value.hex()}


def rows_of(value: object) -> Rows:
    """Rows from a list of mappings, or a polars, pandas or pyarrow table. Raises StateError for anything else."""
    columns, records = _columns_and_records(value)
    for column in columns:
        if (
            not isinstance(column, str)
            or column.lower() in _OWN
            or not column
            or "\0" in column
            or not _is_text(column)
        ):
            raise StateError(
                f"column {column!r} of a table is not usable; name columns by text, not one of {_OWN}"
            )
    if len({column.lower() for column in columns}) < len(columns):
        raise StateError(
            f"columns {columns} differ in upper and lower case only, which SQL does not tell apart"
        )
    cells = [
        _cleaned(name, column) for name, column in zip(columns, _turned(records, len(columns)), strict=True)
    ]
    types = tuple(kind for kind, _ in cells)
    return Rows(tuple(columns), types, list(zip(*(column for _, column in cells), strict=True)))


def _turned(records: Iterable[Sequence[object]], columns: int) -> list[Sequence[object]]:
    """Columns of records; so many empty ones of none."""
    return list(zip(*records, strict=True)) or [()] * columns


def _cleaned(name: str, column: Sequence[object]) -> tuple[str, Sequence[object]]:
    """A column's SQL type and its values as SQL takes them."""
    if set(map(type, column)) == {float}:  # the bulk of all tables: no cell needs to be looked at alone
        values = [None if cell != cell else cell for cell in column]  # NaN alone differs from itself
        return "REAL" if values.count(None) < len(values) else "", values
    values = [_sql_value(cell) for cell in column]
    kind = _column_type(name, values)
    return kind, [_cast(cell, kind) for cell in values]


def _columns_and_records(value: Any) -> tuple[list[str], Iterable[Sequence[object]]]:
    library = type(value).__module__.partition(".")[0]
    if library == "polars":
        return list(value.columns), value.iter_rows()
    if library == "pandas":
        return [str(name) for name in value.columns], value.itertuples(index=False, name=None)
    if library == "pyarrow":
        lists = [column.to_pylist() for column in value.columns]
        return list(value.column_names), list(zip(*lists, strict=True))
    if isinstance(value, list | tuple) and all(isinstance(row, Mapping) for row in value):
        columns = list(dict.fromkeys(name for row in value for name in row))
        return columns, [[row.get(name) for name in columns] for row in value]
    raise StateError(
        f"rows for a table came as {type(value).__name__}; give a list of dicts, or a polars, pandas or pyarrow table"
    )


def _sql_value(cell: Any) -> object:
    if hasattr(cell, "item") and type(cell).__module__ == "numpy":
        cell = cell.item()
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None  # SQL has no NaN; SQLite itself would store NULL
    if isinstance(cell, bool):
        return int(cell)
    if isinstance(cell, int) and not -(1 << 63) <= cell < 1 << 63:
        raise StateError(
            f"a table cell holds {cell}, and SQL's whole numbers end at 64 bits; give it as text"
        )
    if isinstance(cell, str) and not _is_text(cell):
        raise StateError(f"a table cell holds {cell[:40]!r}, which is not valid text; give it as bytes")
    if isinstance(cell, int | float | str | bytes):
        return cell
    if hasattr(cell, "isoformat"):
        return cell.isoformat()
    raise StateError(f"a table cell holds {type(cell).__name__}; use numbers, text, bytes, dates or None")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _column_type(name: str, cells: list[object]) -> str:
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds == {int, float}:
        return "REAL"
    if len(kinds) > 1:
        names = ", ".join(sorted(kind.__name__ for kind in kinds))
        raise StateError(f"column {name!r} mixes {names}; give it one type")
    return _SQL_TYPES[kinds.pop()] if kinds else ""


def _cast(cell: object, kind: str) -> object:
    return float(cell) if kind == "REAL" and isinstance(cell, int) else cell


@dataclass(frozen=True, slots=True)
class Tables:
    """Creates and fills the user's tables."""

    database: Database

    def names(self) -> list[str]:
        return [row[0] for row in self.database.rows("SELECT name FROM user_tables ORDER BY name")]

    def replace(
        self, name: str, rows: Rows, *, phase: str, key: str, position: int, fingerprint: str, data: bool
    ) -> str:
        """Make `rows` the rows of this unit, in the caller's transaction; returns their digest."""
        rows = self._fit(name, rows, data=data)
        if self._columns(name):
            self.database.execute(
                f"DELETE FROM {quoted(name)} WHERE _phase = ? AND _position = ?",  # noqa: S608 - quoted
                (phase, position),
            )
            self.append(name, rows, phase=phase, position=position)
        digest = rows.digest()
        self.database.execute(
            "INSERT OR REPLACE INTO user_rows (name, phase, key, position, rows, fingerprint, digest) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (name, phase, key, position, len(rows.values), fingerprint, digest),
        )
        return digest

    def append(self, name: str, rows: Rows, *, phase: str, position: int, first: int = 0) -> None:
        rows = self._fit(name, rows, data=False)
        names = ", ".join(quoted(column) for column in (*rows.columns, *_OWN))
        marks = ", ".join("?" * (len(rows.columns) + len(_OWN)))
        self.database.execute_many(
            f"INSERT INTO {quoted(name)} ({names}) VALUES ({marks})",  # noqa: S608 - quoted
            [(*row, phase, position, first + number) for number, row in enumerate(rows.values)],
        )

    def record(self, name: str, *, phase: str, position: int, first: int, count: int) -> None:
        """Take the digest of `count` rows that a loop has added to a table, the first being number `first` of all its
        rows, added at `position`. In the caller's transaction."""
        digest = self._digest_from(name, phase, position, first, count)
        self.database.execute(
            "INSERT OR REPLACE INTO user_rows (name, phase, key, position, rows, fingerprint, digest) "
            "VALUES (?, ?, ?, ?, ?, '', ?)",
            (name, phase, str(first), position, count, digest),
        )

    def rewind(self, phase: str, *, inserted: int) -> None:
        """Delete what a loop added after its first `inserted` rows."""
        self.database.execute(
            "DELETE FROM user_rows WHERE phase = ? AND CAST(key AS INTEGER) >= ?", (phase, inserted)
        )
        for name in self.names():
            self.database.execute(
                f"DELETE FROM {quoted(name)} WHERE _phase = ? AND _row >= ?",  # noqa: S608 - quoted
                (phase, inserted),
            )

    def forget(self, phase: str, *, keep_data: bool) -> None:
        """Drop the rows of a phase and of all inside it, except those of data tables when they are to be kept."""
        below = (phase, phase + "/", phase + "0")
        for row in self.database.rows("SELECT name, data FROM user_tables"):
            if keep_data and row["data"]:
                continue
            self.database.execute(
                f"DELETE FROM {quoted(row['name'])} "  # noqa: S608 - quoted
                "WHERE _phase = ? OR (_phase >= ? AND _phase < ?)",
                below,
            )
            self.database.execute(
                "DELETE FROM user_rows WHERE name = ? AND (phase = ? OR (phase >= ? AND phase < ?))",
                (row["name"], *below),
            )

    def forget_unit(self, phase: str, key: str) -> None:
        """Drop the rows of one unit."""
        unit = (phase, key)
        for row in self.database.rows("SELECT * FROM user_rows WHERE phase = ? AND key = ?", unit):
            place = f"DELETE FROM {quoted(row['name'])} WHERE _phase = ? AND _position = ?"  # noqa: S608 - quoted
            self.database.execute(place, (phase, row["position"]))
        self.database.execute("DELETE FROM user_rows WHERE phase = ? AND key = ?", unit)

    def found(self, name: str, *, phase: str, fingerprint: str) -> dict[str, tuple[int, str, int]]:
        """Units whose rows are in the table with the digest they were saved with: key -> (position, digest, rows)."""
        known = self.database.rows(
            "SELECT key, position, digest, rows FROM user_rows WHERE name = ? AND phase = ? AND fingerprint = ?",
            (name, phase, fingerprint),
        )
        return {
            row["key"]: (row["position"], row["digest"], row["rows"])
            for row in known
            if self.digest(name, phase=phase, position=row["position"]) == row["digest"]
        }

    def are_whole(self, name: str, phase: str, key: str) -> bool:
        """Whether a unit's rows stand in the table as they were recorded."""
        row = self.database.row(
            "SELECT position, digest FROM user_rows WHERE name = ? AND phase = ? AND key = ?",
            (name, phase, key),
        )
        return row is not None and self.digest(name, phase=phase, position=row["position"]) == row["digest"]

    def digest(self, name: str, *, phase: str, position: int) -> str:
        """Digest of a unit's rows as they stand in the table."""
        return self._digest_where(name, "_phase = ? AND _position = ? ORDER BY _row", (phase, position))

    def _digest_from(self, name: str, phase: str, position: int, first: int, count: int) -> str:
        """Digest of some of a loop's rows as they stand in the table."""
        place = "_phase = ? AND _position >= ? AND _row >= ? ORDER BY _position, _row LIMIT ?"
        return self._digest_where(name, place, (phase, position, first, count))

    def _digest_where(self, name: str, place: str, values: Sequence[object]) -> str:
        columns = self._columns(name)
        if not columns:
            return Rows((), (), []).digest()  # every unit came without rows, so there is no table yet
        rows = self.database.rows(
            f"SELECT {', '.join(quoted(column) for column in columns)} FROM {quoted(name)} WHERE {place}",  # noqa: S608
            values,
        )
        return Rows(tuple(columns), (), [tuple(row) for row in rows]).digest()

    def digest_again(self, record: Row) -> str:
        """The digest that a row of `user_rows` holds, of what stands in the table now."""
        loop = self.database.row("SELECT 1 FROM phases WHERE path = ? AND kind = 'range'", (record["phase"],))
        if loop is None:
            return self.digest(record["name"], phase=record["phase"], position=record["position"])
        place = record["name"], record["phase"], record["position"]
        return self._digest_from(*place, int(record["key"]), record["rows"])

    def added_by(self, loop: str) -> tuple[int, list[str]]:
        """How many rows a loop has in all tables, and those tables where rows are not as they were added."""
        count = 0
        for name in self.names():
            row = self.database.row(f"SELECT count(*) FROM {quoted(name)} WHERE _phase = ?", (loop,))  # noqa: S608
            count += int(row[0]) if row else 0
        records = self.database.rows("SELECT * FROM user_rows WHERE phase = ? ORDER BY name", (loop,))
        altered = [row["name"] for row in records if self.digest_again(row) != row["digest"]]
        return count, list(dict.fromkeys(altered))

    def _columns(self, name: str) -> dict[str, str]:
        row = self.database.row("SELECT columns FROM user_tables WHERE name = ?", (name,))
        return dict(parsed(row["columns"])) if row else {}

    def _fit(self, name: str, rows: Rows, *, data: bool) -> Rows:
        """Create the table if it is new; check that the rows fit it if it is not."""
        lower = name.lower()
        if not _NAME.fullmatch(name) or lower in CORE_TABLES or lower.startswith(("sqlite_", "_order_")):
            raise UsageError(
                f"{name!r} cannot name a table; use letters, digits and _, not {sorted(CORE_TABLES)}"
            )
        twin = next((other for other in self.names() if other != name and other.lower() == lower), None)
        if twin is not None:
            raise UsageError(
                f"tables {name!r} and {twin!r} differ in upper and lower case only; SQL does not"
            )
        columns = self._columns(name)
        if not columns:
            self._create(name, rows, data=data)
            return rows
        if rows.values and set(rows.columns) != set(columns):
            raise UsageError(
                f"table {name!r} has columns {sorted(columns)} and these rows have {sorted(rows.columns)}; "
                "give every unit the same columns"
            )
        return _arranged(rows, self._widened(name, rows, columns))

    def _widened(self, name: str, rows: Rows, columns: dict[str, str]) -> dict[str, str]:
        """The table's types, after making room for these rows: what a table ends with must not depend on which of
        several units came first."""
        given = dict(zip(rows.columns, rows.types, strict=True)) if rows.values else {}
        wider = {
            column: _common(name, column, kind, given.get(column, "")) for column, kind in columns.items()
        }
        if wider != columns:
            self._rebuild(name, wider)
        return wider

    def _rebuild(self, name: str, columns: dict[str, str]) -> None:
        """Give columns other types, and units the digests of their rows as they stand now."""
        old, names = f"_before_{name}", ", ".join(quoted(column) for column in (*columns, *_OWN))
        self.database.execute(f"ALTER TABLE {quoted(name)} RENAME TO {quoted(old)}")
        self.database.execute(f"DROP INDEX {quoted('_order_' + name)}")
        self._define(name, columns)
        self.database.execute(f"INSERT INTO {quoted(name)} ({names}) SELECT {names} FROM {quoted(old)}")  # noqa: S608
        self.database.execute(f"DROP TABLE {quoted(old)}")
        self.database.execute(
            "UPDATE user_tables SET columns = ? WHERE name = ?", (json.dumps(list(columns.items())), name)
        )
        for row in self.database.rows("SELECT * FROM user_rows WHERE name = ?", (name,)):
            digest = self.digest_again(row)
            self.database.execute(
                "UPDATE user_rows SET digest = ? WHERE name = ? AND phase = ? AND key = ?",
                (digest, name, row["phase"], row["key"]),
            )

    def _create(self, name: str, rows: Rows, *, data: bool) -> None:
        if not rows.columns:
            return  # the first unit had no rows: the table waits for one that has
        if self.database.row("SELECT 1 FROM sqlite_master WHERE lower(name) = ?", (name.lower(),)):
            raise UsageError(f"run.db holds a {name!r} that this run did not make; rename one of the two")
        self._define(name, dict(zip(rows.columns, rows.types, strict=True)))
        self.database.execute(
            "INSERT INTO user_tables (name, columns, data) VALUES (?, ?, ?)",
            (name, json.dumps(list(zip(rows.columns, rows.types, strict=True))), data),
        )

    def _define(self, name: str, columns: Mapping[str, str]) -> None:
        declared = [f"{quoted(column)} {kind}" for column, kind in columns.items()]
        own = ["_phase TEXT NOT NULL", "_position INTEGER NOT NULL", "_row INTEGER NOT NULL"]
        self.database.execute(f"CREATE TABLE {quoted(name)} ({', '.join(declared + own)})")
        self.database.execute(
            f"CREATE UNIQUE INDEX {quoted('_order_' + name)} ON {quoted(name)} (_phase, _position, _row)"
        )

    def move(self, phase: str, positions: Mapping[str, int]) -> None:
        """Put the rows of units at other positions, because keys were added between theirs."""
        for row in self.database.rows("SELECT name, key, position FROM user_rows WHERE phase = ?", (phase,)):
            if row["key"] in positions:
                self._move_rows(row["name"], phase, row["position"], -1 - positions[row["key"]])
        for name in self.names():  # in two steps, because one's new place may be another's old one
            self.database.execute(
                f"UPDATE {quoted(name)} SET _position = -1 - _position WHERE _phase = ? AND _position < 0",  # noqa: S608
                (phase,),
            )
        self.database.execute_many(
            "UPDATE user_rows SET position = ? WHERE phase = ? AND key = ?",
            [(position, phase, key) for key, position in positions.items()],
        )

    def _move_rows(self, name: str, phase: str, old: int, new: int) -> None:
        if self._columns(name):
            self.database.execute(
                f"UPDATE {quoted(name)} SET _position = ? WHERE _phase = ? AND _position = ?",  # noqa: S608
                (new, phase, old),
            )


def _common(table: str, column: str, one: str, other: str) -> str:
    """The type that holds the values of both; '' where all were NULL so far."""
    if one == other or not other:
        return one
    if not one:
        return other
    if {one, other} == {"INTEGER", "REAL"}:
        return "REAL"
    raise UsageError(f"column {column!r} of table {table!r} is {one}, and these rows have {other}")


def _arranged(rows: Rows, columns: dict[str, str]) -> Rows:
    """The rows in the table's column order and types."""
    if rows.columns == tuple(columns) and rows.types == tuple(columns.values()):
        return rows
    order = [rows.columns.index(column) for column in columns] if rows.values else []
    types = tuple(columns.values())
    values = [tuple(_cast(row[i], t) for i, t in zip(order, types, strict=True)) for row in rows.values]
    return Rows(tuple(columns), types, values)
