"""The digest of a run: a line a phase over all that it produced. Equal digests mean equal bits.

Times, hosts, attempts, tries and generation numbers are left out: they differ between an interrupted run and one that
was not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Protocol

from perdure.store.database import Row, parsed, quoted


class Readable(Protocol):
    """A database that can be read."""

    def rows(self, sql: str, values: tuple[object, ...] = ()) -> list[Row]: ...


@dataclass(frozen=True, slots=True)
class PhaseDigest:
    """One phase's line."""

    path: str
    kind: str
    state: str
    digest: str
    parts: dict[str, str]  # what the digest is made of, to name what differs


def digests(database: Readable) -> list[PhaseDigest]:
    """All phases in the order in which the run met them."""
    return [
        PhaseDigest(row["path"], row["kind"], row["state"], _combined(parts), parts)
        for row in database.rows("SELECT path, kind, state FROM phases ORDER BY ordinal")
        for parts in [_parts(database, row["path"], row["kind"])]
    ]


def _parts(database: Readable, path: str, kind: str) -> dict[str, str]:
    parts = _loop_parts(database, path) if kind == "range" else _unit_parts(database, path)
    history = [
        [row["seq"], row["position"], parsed(row["entry"])]
        for row in database.rows(
            "SELECT seq, position, entry FROM history WHERE loop = ? ORDER BY seq", (path,)
        )
    ]
    if history:
        parts["history"] = _digest(history)
    for row in database.rows("SELECT name, columns FROM user_tables ORDER BY name"):
        digest = _rows(database, row["name"], sorted(name for name, _ in parsed(row["columns"])), path)
        if digest:
            parts[f"table {row['name']}"] = digest
    return parts


def _loop_parts(database: Readable, path: str) -> dict[str, str]:
    newest = database.rows(
        "SELECT position, stream, batch, parts FROM snapshots WHERE loop = ? AND state = 'kept' "
        "ORDER BY generation DESC LIMIT 1",
        (path,),
    )
    if not newest:
        return {}
    row = newest[0]
    return {**parsed(row["parts"]), "cursor": _digest([row["position"], row["stream"], row["batch"]])}


def _unit_parts(database: Readable, path: str) -> dict[str, str]:
    rows = database.rows("SELECT key, state, digest FROM units WHERE phase = ? ORDER BY position", (path,))
    parts = {f"unit {row['key']}": row["digest"] or row["state"] for row in rows}
    logs = database.rows(
        "SELECT h.loop, h.seq, h.entry FROM history h "
        "JOIN units u ON h.loop = u.phase || '/' || replace(replace(u.key, '~', '~0'), '/', '~1') "
        "WHERE u.phase = ? AND u.key != '' ORDER BY u.position, h.seq",
        (path,),
    )
    if logs:
        parts["logs of units"] = _digest([[row["loop"], row["seq"], parsed(row["entry"])] for row in logs])
    return parts


def _rows(database: Readable, table: str, columns: list[str], path: str) -> str:
    names = ", ".join(quoted(column) for column in columns)
    rows = database.rows(
        f"SELECT {names}, _position, _row FROM {quoted(table)} WHERE _phase = ? ORDER BY _position, _row",  # noqa: S608
        (path,),
    )
    return _digest([[_cell(cell) for cell in row] for row in rows]) if rows else ""


def _cell(cell: object) -> object:
    return {"hex": cell.hex()} if isinstance(cell, bytes) else cell


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _combined(parts: dict[str, str]) -> str:
    return _digest(parts)
