"""What was recorded in loops and about the run: history, snapshots, the journal."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from perdure.overview import Overview
from perdure.store.database import Reader, Row, parsed

MOST_POINTS = 4000  # of a curve; a screen has fewer columns
MOST_SNAPSHOTS = 5000
MOST_EVENTS = 1000


def history(reader: Reader | None, seen: Overview, *, loop: str | None) -> dict[str, Any]:
    """What a loop logged, by default the one that logged last: a series a name, one value or None a position.

    A value that is no finite number is "NaN", "Infinity" or "-Infinity". Positions count from 0; several entries of
    one position that give the same name share it as fractions. Entries from `provisional_from` on are not saved yet.
    Long histories are thinned to 4,000 points: one in `every`.
    """
    empty: dict[str, Any] = {
        "loops": [],
        "loop": loop,
        "positions": [],
        "series": {},
        "provisional_from": None,
        "every": 1,
    }
    if reader is None:
        return empty | {"interruptions": [], "saves": []}
    with reader.transaction():
        loops = [row[0] for row in reader.rows("SELECT loop FROM history GROUP BY loop ORDER BY max(at)")]
        chosen = loop if loop is not None else (loops[-1] if loops else None)
        if chosen is None:
            return empty | {"interruptions": [], "saves": []}
        newest, every = _newest_and_step(reader, chosen)
        rows = reader.rows(
            "SELECT position, entry FROM history WHERE loop = ? AND (? - position) % ? = 0 ORDER BY seq",
            (chosen, newest, every),
        )
        begun = reader.rows(
            "SELECT attempt, min(position), max(position) FROM history WHERE loop = ? GROUP BY attempt",
            (chosen,),
        )
        saves = reader.rows("SELECT DISTINCT position FROM snapshots WHERE loop = ? ORDER BY 1", (chosen,))
        provisional_from = _provisional_from(reader, seen, chosen)
    positions, entries, step = _points(rows)
    return {
        "loops": sorted(loops), "loop": chosen, "positions": positions, "series": _series(entries),
        "every": every * step, "provisional_from": provisional_from,
        "interruptions": _interruptions(begun, seen, chosen),
        "saves": [row["position"] for row in saves],
    }  # fmt: skip


def _newest_and_step(reader: Reader, loop: str) -> tuple[int, int]:
    """The newest position, and of how many positions one is read."""
    first, last = reader.rows("SELECT min(position), max(position) FROM history WHERE loop = ?", (loop,))[0]
    return (last, math.ceil((last - first + 1) / MOST_POINTS)) if last is not None else (0, 1)


def _points(rows: Sequence[Row]) -> tuple[list[float], list[dict[str, Any]], int]:
    """Entries by position: those with other names are one point. One in how many was taken comes last."""
    positions: list[float] = []
    entries: list[dict[str, Any]] = []
    for position, found in itertools.groupby(rows, key=lambda row: row["position"]):
        merged: list[dict[str, Any]] = []
        for row in found:
            values = parsed(row["entry"])
            if merged and merged[-1].keys().isdisjoint(values):
                merged[-1] |= values
            else:
                merged.append(values)
        positions += [position + i / len(merged) for i in range(len(merged))]
        entries += merged
    step = math.ceil(len(entries) / MOST_POINTS) or 1
    return positions[::-step][::-1], entries[::-step][::-1], step  # the newest always stays


def _series(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[float | str | None]]:
    names = dict.fromkeys(name for entry in entries for name, value in entry.items() if _is_number(value))
    return {name: [_number(entry.get(name)) for entry in entries] for name in names}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _number(value: object) -> float | str | None:
    """A value that JSON can hold."""
    if not isinstance(value, int | float):
        return None
    if abs(value) <= sys.float_info.max:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _provisional_from(reader: Reader, seen: Overview, loop: str) -> int | None:
    if not any(phase.name == loop and phase.kind == "range" for phase in seen.phases):
        return None  # a unit's own log commits with the unit
    row = reader.row(
        "SELECT min(position) FROM history WHERE loop = ? AND seq >= "
        "(SELECT coalesce(max(logged), 0) FROM snapshots WHERE loop = ? AND state = 'kept')",
        (loop, loop),
    )
    return row[0] if row else None


def _interruptions(begun: Sequence[Row], seen: Overview, loop: str) -> list[dict[str, Any]]:
    """Where an attempt ended and the next one went on, and where the run stands still now.

    begun: the first and last position that each attempt has logged.
    """
    attempts = {attempt.id: attempt for attempt in seen.attempt_log}
    first = {number: position for number, position, _ in begun}
    found = []
    for before, after in itertools.pairwise(sorted(first)):
        found += [(number, first[after]) for number in range(before, after)]
    phase = next((phase for phase in seen.phases if phase.name == loop), None)
    if begun and seen.state != "running" and phase is not None and phase.state != "completed":
        reached = max(position for _, _, position in begun) + 1
        found += [(number, reached) for number in sorted(attempts) if number >= max(first)]
    return [
        {
            "position": position, "outcome": attempts[number].outcome,
            "at": max(attempts[number].ended_at or 0.0, attempts[number].started_at + attempts[number].seconds),
        }
        for number, position in found
        if number in attempts
    ]  # fmt: skip


def snapshots(reader: Reader | None) -> dict[str, Any]:
    """All generations, newest first; `state` is kept, removed, damaged or superseded."""
    if reader is None:
        return {"snapshots": []}
    rows = reader.rows(
        "SELECT loop, generation, position, batch, size, sha256, state, final, at, stall_seconds AS stall_s "
        "FROM snapshots ORDER BY at DESC, loop, generation DESC LIMIT ?",
        (MOST_SNAPSHOTS,),
    )
    return {"snapshots": [dict(row) | {"final": bool(row["final"])} for row in rows]}


def journal(
    reader: Reader | None, *, before: int | None, limit: int, event: str | None, text: str | None
) -> dict[str, Any]:
    """A page of the journal, newest first: entries before `before`, of one event, that hold a text."""
    if reader is None:
        return {"events": [], "names": []}
    conditions = {
        "seq < ?": before, "event = ?": event,
        "instr(lower(subject || ' ' || event || ' ' || detail), ?) > 0": text.lower() if text else None,
    }  # fmt: skip
    chosen = {sql: value for sql, value in conditions.items() if value is not None}
    where = f"WHERE {' AND '.join(chosen)} " if chosen else ""
    rows = reader.rows(
        f"SELECT seq, at, attempt, event, subject, detail FROM journal {where}ORDER BY seq DESC LIMIT ?",  # noqa: S608
        (*chosen.values(), min(limit, MOST_EVENTS)),
    )
    names = [row[0] for row in reader.rows("SELECT DISTINCT event FROM journal ORDER BY event")]
    return {"events": [dict(row) | {"detail": _detail(row["detail"])} for row in rows], "names": names}


def _detail(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return {"damaged": text}
