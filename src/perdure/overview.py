"""Where a run stands, read from its database alone: what `perdure status` shows, live or long after a crash."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from perdure.errors import ChangedError
from perdure.store.database import Reader, parsed, quoted, unsealed
from perdure.store.lock import Holder, read_holder

DEFAULT_BUDGET = 0.01
_MARKS = 200  # the latest recorded times of a phase that its rate is taken from
_ORDERLY = {"completed", "stopped", "failed"}  # attempts that recorded how long they were
_GAP = 10.0  # an interval this many times the median is a machine that slept, not work


@dataclass(frozen=True, slots=True)
class PhaseState:
    """One phase. `done` counts what is saved: units, or iterations of a loop."""

    name: str
    kind: str | None  # None before it began
    state: str  # 'new', 'running', 'stopped', 'failed' or 'completed'
    done: int
    failed: int
    total: int | None
    eta_s: float | None
    reached: int  # iterations begun or done in a loop, saved or not; else `done`


@dataclass(frozen=True, slots=True)
class AttemptState:
    """One process that worked on the run."""

    id: int
    started_at: float
    ended_at: float | None
    outcome: str  # 'running', 'completed', 'stopped', 'failed' or 'killed'
    exit_code: int | None
    pid: int
    host: str
    seconds: float
    lost_s: float  # work after its last save, done again by the next attempt


@dataclass(frozen=True, slots=True)
class Proof:
    """What `perdure prove` found: see `exports/proof.json`."""

    verdict: str  # 'exact', 'differs' or 'nondeterministic'
    kills: int
    equal: int
    at: float
    outdated: bool  # of other code, config or libraries than this run's


@dataclass(frozen=True, slots=True)
class Overview:
    """A run at one moment. Moments are seconds since the epoch, durations seconds."""

    run: str
    target: str
    state: str  # 'new', 'running', 'stopped', 'failed' or 'completed'
    phases: tuple[PhaseState, ...] = ()
    attempts: int = 0
    last_saved_at: float | None = None
    last_saved_age_s: float | None = None
    alive: bool = False
    overhead: float | None = None  # share of the time that saving took, over all attempts
    budget: float | None = DEFAULT_BUDGET
    eta_s: float | None = None  # None when a phase's rate is not known yet
    pid: int | None = None
    host: str | None = None
    failed: int = 0
    models: int = 0  # loops trained to their end
    lost_s: float = 0.0
    away_s: float = 0.0  # between attempts
    saved_s: float = 0.0
    bytes: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)  # rows of the user's tables
    attempt_log: tuple[AttemptState, ...] = ()
    proof: Proof | None = None

    def as_document(self) -> dict[str, Any]:
        return asdict(self)


def overview(folder: Path, reader: Reader | None, *, now: float) -> Overview:
    """Read it all; `reader` is None for a folder in which nothing was recorded."""
    holder = read_holder(folder / "lock")
    alive = holder is not None and holder.is_alive()
    if reader is None:
        return Overview(str(folder), "", "new", alive=alive, bytes=bytes_of(folder))
    with reader.transaction():
        return _overview(folder, reader, now, holder if alive else None)


def _overview(folder: Path, reader: Reader, now: float, holder: Holder | None) -> Overview:
    meta = {row["key"]: parsed(row["value"]) for row in reader.rows("SELECT key, value FROM meta "
            "WHERE key IN ('phases', 'target', 'budget')")}  # fmt: skip
    attempts = _attempts(reader, holder)
    state = _state(attempts, reader)
    phases = _phases(reader, meta.get("phases") or [], state)
    saved_at = _last_saved(reader)
    cost = reader.rows("SELECT sum(saving_seconds), sum(seconds) FROM attempts")[0]
    last = attempts[-1] if attempts else None
    return Overview(
        run=str(folder), target=meta.get("target") or "", state=state, phases=phases, attempts=len(attempts),
        last_saved_at=saved_at, last_saved_age_s=None if saved_at is None else max(0.0, now - saved_at),
        alive=holder is not None, overhead=cost[0] / cost[1] if cost[1] else None,
        budget=meta.get("budget", DEFAULT_BUDGET), eta_s=_total_eta(phases, state),
        pid=holder.pid if holder else (last.pid if last else None), host=last.host if last else None,
        failed=sum(phase.failed for phase in phases),
        models=reader.rows("SELECT count(*) FROM phases WHERE kind = 'range' AND state = 'completed'")[0][0],
        lost_s=sum(attempt.lost_s for attempt in attempts), away_s=_away(attempts), saved_s=_saved(attempts),
        bytes=bytes_of(folder), tables=_tables(reader), attempt_log=tuple(attempts),
        proof=_proof(folder, reader),
    )  # fmt: skip


def _proof(folder: Path, reader: Reader) -> Proof | None:
    try:
        found = json.loads((folder / "exports" / "proof.json").read_text(encoding="utf-8"))
        known, now = found["basis"], basis_of(reader)
        outdated = any(known.get(path, basis) != basis for path, basis in now.items())
        verdict, kills, equal, at = (found[name] for name in ("verdict", "kills", "equal", "at"))
        return Proof(str(verdict), int(kills), int(equal), float(at), outdated)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ):  # none, or none that we know
        return None


def basis_of(reader: Reader) -> dict[str, str]:
    """What a proof is about: for each phase a digest of the code, config and libraries that it ran with."""
    rows = reader.rows("SELECT path, fingerprint FROM phases ORDER BY ordinal")
    prints = {row["path"]: unsealed(row["fingerprint"]) for row in rows}
    kept = {path: [full[name] for name in ("code", "config", "libraries")] for path, full in prints.items()}
    return {
        path: hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:16]
        for path, basis in kept.items()
    }


# -- attempts ----------------------------------------------------------------------------------------------------


def _attempts(reader: Reader, holder: Holder | None) -> list[AttemptState]:
    """All of them; one that recorded no end was killed, unless its process is the holder."""
    saves = {
        row["attempt"]: row["at"]
        for row in reader.rows(
            "SELECT attempt, max(at) AS at FROM (SELECT attempt, at FROM units UNION ALL "
            "SELECT attempt, at FROM snapshots) GROUP BY attempt"
        )
    }
    rows = reader.rows("SELECT * FROM attempts ORDER BY id")
    pid = holder.pid if holder is not None else None
    return [_attempt(row, saves.get(row["id"], row["started_at"]), pid) for row in rows]


def _attempt(row: Any, saved_at: float, holder: int | None) -> AttemptState:
    end = max(row["ended_at"] or row["seen_at"], saved_at)
    outcome = "killed" if row["outcome"] == "running" and row["pid"] != holder else row["outcome"]
    interrupted = outcome in {"killed", "failed", "stopped"}
    return AttemptState(
        row["id"], row["started_at"], row["ended_at"], outcome, row["exit_code"], row["pid"], row["host"],
        max(row["seconds"], 0.0 if outcome in _ORDERLY else end - row["started_at"]),
        max(0.0, end - saved_at) if interrupted else 0.0,
    )  # fmt: skip


def _state(attempts: Sequence[AttemptState], reader: Reader) -> str:
    if not attempts:
        return "new"
    last = attempts[-1]
    if last.outcome == "running":
        return "running"
    unfinished = reader.row("SELECT 1 FROM phases WHERE state != 'completed' LIMIT 1")
    if last.outcome == "completed" and unfinished:
        return "stopped"  # a repair found something to compute again
    if last.outcome == "failed" and last.exit_code == ChangedError.exit_code:
        return "stopped"  # it refused to start
    return last.outcome if last.outcome in {"completed", "failed"} else "stopped"


def _away(attempts: Sequence[AttemptState]) -> float:
    """Time between attempts that an interruption cost."""
    pairs = itertools.pairwise(attempts)
    return sum(
        max(0.0, after.started_at - before.started_at - before.seconds)  # a killed one recorded no end
        for before, after in pairs
        if before.outcome != "completed"
    )


def _saved(attempts: Sequence[AttemptState]) -> float:
    """Work that resumes did not do again: what was saved at each resume, had it begun from nothing instead."""
    saved, kept = 0.0, 0.0
    for before, _ in itertools.pairwise(attempts):
        kept += max(0.0, before.seconds - before.lost_s)
        if before.outcome != "completed":
            saved += kept
    return saved


def _last_saved(reader: Reader) -> float | None:
    row = reader.row(
        "SELECT max(at) FROM (SELECT max(at) AS at FROM units UNION ALL SELECT max(at) FROM snapshots)"
    )
    return row[0] if row else None


# -- phases ------------------------------------------------------------------------------------------------------


def _phases(reader: Reader, declared: Sequence[str], state: str) -> tuple[PhaseState, ...]:
    rows = {
        row["path"]: row
        for row in reader.rows("SELECT path, kind, state, total FROM phases ORDER BY ordinal")
    }
    counts: dict[str, dict[str, int]] = {}
    for row in reader.rows("SELECT phase, state, count(*) AS n FROM units GROUP BY phase, state"):
        counts.setdefault(row["phase"], {})[row["state"]] = row["n"]
    positions = {
        row["loop"]: row["position"]
        for row in reader.rows(
            "SELECT loop, max(position) AS position FROM snapshots WHERE state = 'kept' GROUP BY loop"
        )
    }
    order = [*declared, *(path for path in rows if path not in declared)]
    return tuple(
        _phase(reader, rows[path], counts.get(path, {}), positions.get(path, 0), state)
        if path in rows
        else PhaseState(path, None, "new", 0, 0, None, None, 0)
        for path in order
    )


def _phase(reader: Reader, row: Any, counts: dict[str, int], position: int, run_state: str) -> PhaseState:
    path, kind, total = row["path"], row["kind"], row["total"]
    done = position if kind == "range" else counts.get("done", 0)
    failed = counts.get("failed", 0)
    if row["state"] == "completed":
        return PhaseState(path, kind, "completed", done, failed, total, 0.0, done)
    state = run_state if run_state in {"running", "failed"} else "stopped"
    reached = max(done, _reached(reader, path)) if kind == "range" else done
    each = seconds_each(_loop_marks(reader, path) if kind == "range" else _unit_marks(reader, path))
    left = None if total is None else max(0, total - (reached if kind == "range" else done + failed))
    eta = each * left if each is not None and left is not None else None
    return PhaseState(path, kind, state, done, failed, total, eta, reached)


def _reached(reader: Reader, loop: str) -> int:
    row = reader.row("SELECT max(position) + 1 FROM history WHERE loop = ?", (loop,))
    return int(row[0]) if row and row[0] is not None else 0


Mark = tuple[int, int, float]  # attempt, how many were done, when


def _loop_marks(reader: Reader, loop: str) -> list[Mark]:
    for sql in (
        "SELECT attempt, position, at FROM snapshots WHERE loop = ? ORDER BY generation DESC LIMIT ?",
        "SELECT attempt, max(position), at FROM history WHERE loop = ? GROUP BY attempt, at "
        "ORDER BY at DESC LIMIT ?",  # many entries are written at one moment
    ):
        marks = [(row[0], row[1], row[2]) for row in reversed(reader.rows(sql, (loop, _MARKS)))]
        if seconds_each(marks) is not None:
            return marks
    return []


def _unit_marks(reader: Reader, phase: str) -> list[Mark]:
    rows = reader.rows(
        "SELECT attempt, at FROM units WHERE phase = ? AND tries > 0 ORDER BY at DESC LIMIT ?",
        (phase, _MARKS),
    )
    return [(row["attempt"], number, row["at"]) for number, row in enumerate(reversed(rows))]


def seconds_each(marks: Sequence[Mark]) -> float | None:
    """Seconds that one unit or iteration takes, from recorded moments; None where they do not tell.

    Only intervals within one attempt count, and those in which the machine slept are left out.
    """
    intervals = [
        (count - before, at - then)
        for (attempt, before, then), (later, count, at) in itertools.pairwise(marks)
        if attempt == later and count > before and at >= then
    ]
    if not intervals:
        return None
    usual = sorted(seconds / items for items, seconds in intervals)[len(intervals) // 2]
    awake = [(items, seconds) for items, seconds in intervals if seconds / items <= max(_GAP * usual, 1.0)]
    return sum(seconds for _, seconds in awake) / sum(items for items, _ in awake) if awake else usual


def _total_eta(phases: Sequence[PhaseState], state: str) -> float | None:
    """Of the top-level phases: those inside an each are part of its units."""
    if state == "completed":
        return 0.0
    etas = [phase.eta_s for phase in phases if "/" not in phase.name]
    return None if not etas or None in etas else sum(eta for eta in etas if eta is not None)


# -- the folder --------------------------------------------------------------------------------------------------


def bytes_of(folder: Path) -> dict[str, int]:
    """Bytes by part of the folder."""
    sizes = dict.fromkeys(("database", "snapshots", "blobs", "cache", "exports", "backups", "other"), 0)
    for base, _, names in os.walk(folder):
        inside = Path(base).relative_to(folder).parts
        for name in names:
            part = inside[0] if inside and inside[0] in sizes else "other"
            part = "database" if not inside and name.startswith("run.db") else part
            try:
                sizes[part] += os.lstat(os.path.join(base, name)).st_size  # noqa: PTH118 - ten times faster
            except OSError:
                continue  # retention removed it just now
    return sizes


def _tables(reader: Reader) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in reader.rows(
        "SELECT t.name, sum(r.rows) AS counted FROM user_tables t LEFT JOIN user_rows r ON r.name = t.name GROUP BY 1"
    ):
        counted = row["counted"]
        if counted is None:  # filled by a loop
            counted = reader.rows(f"SELECT count(*) FROM {quoted(row['name'])}")[0][0]  # noqa: S608 - quoted
        found[row["name"]] = int(counted)
    return found
