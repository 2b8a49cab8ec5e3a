"""The units of a phase: each with its group and state, and as a grid where units hold loops of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perdure.overview import Overview, PhaseState
from perdure.phase import path_of_unit
from perdure.store.database import Reader, parsed, quoted, unsealed

MOST = 10_000  # units in one answer
_LONGEST_REASON = 2000  # characters
_GROUPS = ("sector", "group")  # columns of a user's table that say to what a unit belongs


def units(
    reader: Reader | None, *, phase: str, state: str | None, offset: int, limit: int, left: int | None
) -> dict[str, Any]:
    """One page of a phase's units, in their order, and how many there are in each state.

    Units that were not begun are 'new', or 'left' where a `break` ended the phase; they have a place in the list
    where their keys are recorded, and are only counted elsewhere. `left` is how many there are, where that is known.
    """
    if reader is None:
        return {"phase": phase, "total": 0, "counts": {}, "units": []}
    with reader.transaction():
        known = _recorded(reader, phase)
        waiting = _waiting(reader, phase, known, left)
        groups = groups_of(reader)
        ended = reader.row("SELECT 1 FROM phases WHERE path = ? AND ended != 0", (phase,)) is not None
    idle = "left" if ended else "new"
    rows = _merged(known, waiting, idle)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["state"]] = counts.get(row["state"], 0) + 1
    if left and not waiting:
        counts[idle] = left
    chosen = [row for row in rows if state in (None, row["state"])]
    page = chosen[offset : offset + min(limit, MOST)]
    listed = [row | {"group": groups.get(row["key"])} for row in page]
    return {"phase": phase, "total": len(chosen), "counts": counts, "units": listed}


def _recorded(reader: Reader, phase: str) -> dict[str, dict[str, Any]]:
    rows = reader.rows(
        "SELECT key, state, tries, substr(reason, 1, ?) AS reason, seconds, at FROM units WHERE phase = ? "
        "ORDER BY position, key",
        (_LONGEST_REASON, phase),
    )
    return {row["key"]: dict(row) for row in rows}


def _waiting(reader: Reader, phase: str, known: Mapping[str, object], left: int | None) -> list[str]:
    """All keys in their order, where they are recorded with the arguments of the units; else nothing."""
    row = reader.row("SELECT value FROM meta WHERE key = ?", (f"arguments:{phase}",))
    keys = list(unsealed(row["value"])) if row else []
    return keys if left is not None and sum(key not in known for key in keys) == left else []


def _merged(known: dict[str, dict[str, Any]], keys: Sequence[str], idle: str) -> list[dict[str, Any]]:
    empty = {"state": idle, "tries": 0, "reason": None, "seconds": None, "at": None}
    order = dict.fromkeys([*keys, *known])
    return [known.get(key) or {"key": key, **empty} for key in order]


def groups_of(reader: Reader) -> dict[str, str]:
    """To what each key belongs: what the first row that its unit gave to a table says in a column named `sector` or
    `group`. A key is the same in all phases."""
    found: dict[str, str] = {}
    for row in reader.rows("SELECT name, columns FROM user_tables ORDER BY name"):
        names = {str(column).lower(): str(column) for column, _ in parsed(row["columns"])}
        column = next((names[name] for name in _GROUPS if name in names), None)
        if column is not None:
            table = quoted(row["name"])
            pairs = reader.rows(
                f"SELECT r.key, t.{quoted(column)} FROM user_rows r JOIN {table} t ON t._phase = r.phase "  # noqa: S608
                "AND t._position = r.position AND t._row = 0 WHERE r.name = ?",
                (row["name"],),
            )
            found |= {key: str(group) for key, group in pairs if group is not None}
    return found


# -- the grid ----------------------------------------------------------------------------------------------------


def grid(reader: Reader | None, seen: Overview, *, phase: str) -> dict[str, Any]:
    """What an each's units have come to: a row a model and a column a fold where each key is "ROW, COLUMN"; else a
    row a unit and a column for each phase inside it. A cell adds up the phases inside; None where nothing began."""
    nested = [one for one in seen.phases if one.name.startswith(f"{phase}/")]
    known = _recorded(reader, phase) if reader is not None else {}
    inside = _by_unit(nested, phase)
    keys = list(dict.fromkeys([*known, *map(_key_of, inside)]))
    split = {key: tuple(part.strip() for part in key.split(",")) for key in keys}
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    if keys and all(len(parts) == 2 and all(parts) for parts in split.values()):
        for key in keys:
            row, column = split[key]
            cells[row, column] = _cell(known.get(key), inside.get(_escaped(key), []), seen.alive)
    else:
        for key in keys:
            for one in inside.get(_escaped(key), []):
                column = one.name.removeprefix(f"{path_of_unit(phase, key)}/")
                cells[key, column] = _cell(known.get(key), [one], seen.alive)
    rows, columns = (list(dict.fromkeys(names)) for names in zip(*cells, strict=True)) if cells else ([], [])
    return {
        "rows": rows, "columns": columns,
        "cells": [[cells.get((row, column)) for column in columns] for row in rows],
    }  # fmt: skip


def _escaped(key: str) -> str:
    return path_of_unit("", key)[1:]


def _key_of(escaped: str) -> str:
    return escaped.replace("~1", "/").replace("~0", "~")


def _by_unit(nested: Sequence[PhaseState], phase: str) -> dict[str, list[PhaseState]]:
    found: dict[str, list[PhaseState]] = {}
    for one in nested:
        found.setdefault(one.name.removeprefix(f"{phase}/").partition("/")[0], []).append(one)
    return found


def _cell(unit: Mapping[str, Any] | None, inside: Sequence[PhaseState], alive: bool) -> dict[str, Any]:
    loops = [one for one in inside if one.kind == "range"]
    counted = loops or list(inside)
    totals = [one.total for one in counted if one.total is not None]
    recorded = unit["state"] if unit is not None else ""
    state = recorded if recorded in {"done", "failed"} else "running" if alive else "stopped"
    return {
        "state": state, "done": sum(one.reached for one in counted),
        "total": sum(totals) if totals else None, "path": counted[0].name if counted else None,
    }  # fmt: skip
