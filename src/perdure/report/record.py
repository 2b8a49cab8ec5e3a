"""What a run's database says beyond where it stands: what was logged, what failed, what happened, how it ended."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from perdure.overview import AttemptState
from perdure.report.wording import cause
from perdure.store.database import Reader, parsed, unsealed

_LARGEST = 1e300  # beyond it a range has no length that can be computed
_MOST_ENTRIES = 20_000  # of a loop's history that are read; a longer one is thinned out


@dataclass(frozen=True, slots=True)
class Curve:
    """The numbers logged under one name in a loop, in order; positions count iterations from 1."""

    name: str
    positions: tuple[float, ...]
    values: tuple[float, ...]
    missing: int = 0  # entries that were no finite number
    ended: bool = True  # with one that was


@dataclass(frozen=True, slots=True)
class LoopLog:
    """What a loop, step or unit logged."""

    loop: str
    entries: int
    curves: tuple[Curve, ...]
    takeovers: tuple[int, ...]  # iterations, from 1, with which another attempt went on
    stride: int = 1  # every how manieth entry was read


@dataclass(frozen=True, slots=True)
class Failure:
    """A unit that was set aside."""

    phase: str
    key: str
    reason: str
    tries: int


@dataclass(frozen=True, slots=True)
class Event:
    """A line of the journal."""

    at: float
    attempt: int
    event: str
    subject: str
    detail: dict[str, Any]


def failures(reader: Reader, *, limit: int) -> list[Failure]:
    """Failed units, in the order of their keys."""
    rows = reader.rows(
        "SELECT phase, key, reason, tries FROM units WHERE state = 'failed' ORDER BY phase, position LIMIT ?",
        (limit,),
    )
    return [Failure(row["phase"], row["key"], row["reason"] or "", row["tries"]) for row in rows]


def events(reader: Reader, *, limit: int) -> list[Event]:
    """The newest lines of the journal, oldest first."""
    rows = reader.rows(
        "SELECT at, attempt, event, subject, detail FROM journal ORDER BY seq DESC LIMIT ?", (limit,)
    )
    return [
        Event(row["at"], row["attempt"], row["event"], row["subject"], parsed(row["detail"]))
        for row in reversed(rows)
    ]


def causes(reader: Reader, attempts: Sequence[AttemptState]) -> list[str]:
    """How each attempt ended, in words."""
    boots = {row["id"]: row["boot"] for row in reader.rows("SELECT id, boot FROM attempts")}
    after: Iterable[AttemptState | None] = [*attempts[1:], None]
    return [
        cause(attempt.outcome, attempt.exit_code, where_next=_where_next(attempt, later, boots))
        for attempt, later in zip(attempts, after, strict=True)
    ]


def _where_next(attempt: AttemptState, later: AttemptState | None, boots: dict[int, str]) -> str:
    if later is None:
        return "same"
    if later.host != attempt.host:
        return "elsewhere"
    return "same" if boots.get(later.id) == boots.get(attempt.id) else "rebooted"


# -- what was logged ---------------------------------------------------------------------------------------------


def latest(reader: Reader, loop: str, *, count: int) -> tuple[Curve, ...]:
    """The numbers of a loop's latest entries."""
    rows = reader.rows(
        "SELECT position, entry FROM history WHERE loop = ? ORDER BY seq DESC LIMIT ?", (loop, count)
    )
    return _curves(reversed(rows))


def logged(reader: Reader) -> list[LoopLog]:
    """All that loops, steps and units logged, in the order of their names."""
    rows = reader.rows(
        "SELECT loop, count(*) AS n, max(seq) AS last FROM history GROUP BY loop ORDER BY loop"
    )
    return [_loop_log(reader, row["loop"], row["n"], row["last"]) for row in rows]


def _loop_log(reader: Reader, loop: str, entries: int, last: int) -> LoopLog:
    stride = math.ceil(entries / _MOST_ENTRIES)
    rows = reader.rows(
        "SELECT position, entry FROM history WHERE loop = ? AND (seq % ? = 0 OR seq = ?) ORDER BY seq",
        (loop, stride, last),
    )
    first = reader.rows(
        "SELECT min(position) AS first FROM history WHERE loop = ? GROUP BY attempt ORDER BY first", (loop,)
    )
    takeovers = tuple(dict.fromkeys(row["first"] + 1 for row in first[1:]))
    return LoopLog(loop, entries, _curves(rows), takeovers, stride)


def _curves(rows: Iterable[Any]) -> tuple[Curve, ...]:
    found: dict[str, list[tuple[int, float | None]]] = {}
    for row in rows:
        for name, value in parsed(row["entry"]).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                drawn = float(value) if abs(value) < _LARGEST else None  # NaN is not
                found.setdefault(name, []).append((row["position"], drawn))
            elif value is None:
                found.setdefault(name, []).append((row["position"], None))
    return tuple(
        _curve(name, points) for name, points in found.items() if any(v is not None for _, v in points)
    )


def _curve(name: str, points: Sequence[tuple[int, float | None]]) -> Curve:
    """Entries of one position (batches of an epoch, say) spread evenly over it."""
    placed: list[tuple[float, float]] = []
    for position, together in itertools.groupby(points, key=lambda point: point[0]):
        group = list(together)
        placed += [
            (position + 1 + number / len(group), value)
            for number, (_, value) in enumerate(group)
            if value is not None
        ]
    positions, values = zip(*placed, strict=True)
    return Curve(name, positions, values, len(points) - len(placed), points[-1][1] is not None)


# -- what it was made with ---------------------------------------------------------------------------------------


def settings(reader: Reader) -> dict[str, Any]:
    """Seed and config as recorded; a config's sections have dotted names."""
    row = reader.row("SELECT value FROM meta WHERE key = 'settings'")
    return unsealed(row["value"]) if row else {}


def versions(reader: Reader) -> dict[str, str]:
    """Libraries, and the machine and thread settings, of all phases; two values where phases differ."""
    found: dict[str, dict[str, None]] = {}
    for row in reader.rows("SELECT fingerprint FROM phases ORDER BY ordinal"):
        document = unsealed(row["fingerprint"])
        for part in ("libraries", "threads"):
            for name, value in document.get(part, {}).items():
                if value not in ("", None):
                    found.setdefault(name, {})[str(value)] = None
    return {name: " / ".join(values) for name, values in found.items()}


# -- when it worked ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Span:
    """When a phase began and ended, and the seconds between in which a process was at work on the run."""

    started_at: float
    ended_at: float | None
    seconds: float


def spans(reader: Reader, attempts: Sequence[AttemptState]) -> dict[str, Span]:
    """By phase; one that goes on or was cut off lasts until the latest that is known of its run."""
    completed = {
        row["subject"]: row["at"]
        for row in reader.rows(
            "SELECT subject, max(at) AS at FROM journal WHERE event = 'phase completed' GROUP BY subject"
        )
    }
    latest_known = max((attempt.started_at + attempt.seconds for attempt in attempts), default=0.0)
    found = {}
    for row in reader.rows("SELECT path, state, started_at FROM phases"):
        ended = completed.get(row["path"]) if row["state"] == "completed" else None
        until = latest_known if ended is None else ended
        found[row["path"]] = Span(
            row["started_at"], ended, sum(_shared(attempt, row["started_at"], until) for attempt in attempts)
        )
    return found


def _shared(attempt: AttemptState, start: float, end: float) -> float:
    """Seconds that an attempt was at work between two moments."""
    return max(0.0, min(end, attempt.started_at + attempt.seconds) - max(start, attempt.started_at))
