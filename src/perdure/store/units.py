"""Phases and their units: one table and one commit path for `step`, `map` and `each`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perdure.clock import Clock
from perdure.store.attempts import Attempts
from perdure.store.database import Database, Row, sealed, unsealed


@dataclass(frozen=True, slots=True)
class Unit:
    """One unit's record."""

    phase: str
    key: str
    position: int
    state: str  # 'done', 'failed', or 'redo' (its result was lost; `digest` is what it must give again)
    tries: int
    document: str | None
    digest: str | None
    reason: str | None
    seconds: float

    @classmethod
    def of(cls, row: Row) -> Unit:
        return cls(row["phase"], row["key"], row["position"], row["state"], row["tries"], row["document"],
                   row["digest"], row["reason"], row["seconds"])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase's record; `fingerprint` is the JSON document it was started with."""

    path: str
    ordinal: int
    kind: str  # 'step', 'map', 'each' or 'range'
    state: str  # 'running', 'completed'
    total: int | None
    fingerprint: dict[str, object]
    data: bool
    ended: bool  # an each that the script left by `break`: what is pending stays so
    seconds: float

    @classmethod
    def of(cls, row: Row) -> Phase:
        return cls(row["path"], row["ordinal"], row["kind"], row["state"], row["total"],
                   unsealed(row["fingerprint"]), bool(row["data"]),
                   bool(row["ended"]), row["seconds"])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Units:
    """Reads and writes the tables `phases` and `units`."""

    database: Database
    attempts: Attempts
    clock: Clock

    def phase(self, path: str) -> Phase | None:
        row = self.database.row("SELECT * FROM phases WHERE path = ?", (path,))
        return Phase.of(row) if row else None

    def phases(self) -> list[Phase]:
        return [Phase.of(row) for row in self.database.rows("SELECT * FROM phases ORDER BY ordinal")]

    def after(self, path: str) -> list[str]:
        """Top-level phases that came after the one that `path` is in."""
        rows = self.database.rows(
            "SELECT path FROM phases WHERE instr(path, '/') = 0 AND ordinal > "
            "(SELECT ordinal FROM phases WHERE path = ?) ORDER BY ordinal",
            (path.partition("/")[0],),
        )
        return [row["path"] for row in rows]

    def start_phase(
        self,
        path: str,
        *,
        kind: str,
        total: int | None,
        fingerprint: Mapping[str, object],
        data: bool = False,
    ) -> None:
        self.database.execute(
            "INSERT INTO phases (path, ordinal, kind, state, total, fingerprint, data, started_at) "
            "VALUES (?, (SELECT coalesce(max(ordinal), 0) + 1 FROM phases), ?, 'running', ?, ?, ?, ?)",
            (path, kind, total, sealed(fingerprint), data, self.clock.now()),
        )

    def refresh_phase(self, path: str, *, total: int | None, fingerprint: Mapping[str, object]) -> None:
        """Record what the phase is run with now (more keys, or changes that were accepted)."""
        self.database.execute(
            "UPDATE phases SET state = CASE WHEN total IS ? THEN state ELSE 'running' END, total = ?, fingerprint = ? "
            "WHERE path = ?",
            (total, total, sealed(fingerprint), path),
        )

    def set_phase(self, path: str, *, state: str, more_seconds: float = 0) -> None:
        self.database.execute(
            "UPDATE phases SET state = ?, seconds = seconds + ? WHERE path = ?", (state, more_seconds, path)
        )

    def end(self, path: str) -> None:
        """The script left this each by `break`: on a rerun it yields nothing."""
        self.database.execute("UPDATE phases SET ended = 1 WHERE path = ?", (path,))

    def all(self, phase: str) -> dict[str, Unit]:
        rows = self.database.rows("SELECT * FROM units WHERE phase = ? ORDER BY position", (phase,))
        return {row["key"]: Unit.of(row) for row in rows}

    def one(self, phase: str, key: str) -> Unit | None:
        row = self.database.row("SELECT * FROM units WHERE phase = ? AND key = ?", (phase, key))
        return Unit.of(row) if row else None

    def complete(
        self, phase: str, key: str, *, position: int, document: str, digest: str, tries: int, seconds: float
    ) -> None:
        self._put(phase, key, position, "done", tries, document, digest, None, seconds)

    def fail(self, phase: str, key: str, *, position: int, reason: str, tries: int, seconds: float) -> None:
        self._put(phase, key, position, "failed", tries, None, None, reason, seconds)

    def expect_again(self, phase: str, key: str) -> None:
        """The result was lost to damage: the unit is redone, and must give the recorded digest."""
        self.database.execute("UPDATE units SET state = 'redo' WHERE phase = ? AND key = ?", (phase, key))

    def move(self, phase: str, positions: Mapping[str, int]) -> None:
        self.database.execute_many(
            "UPDATE units SET position = ? WHERE phase = ? AND key = ?",
            [(position, phase, key) for key, position in positions.items()],
        )

    def _put(self, *values: object) -> None:
        self.database.execute(
            "INSERT OR REPLACE INTO units "
            "(phase, key, position, state, tries, document, digest, reason, seconds, at, attempt) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*values, self.clock.now(), self.attempts.current),
        )

    def forget_one(self, phase: str, key: str) -> None:
        """Drop a unit of an each, which is to compute it again, even where a `break` had ended it."""
        self.database.execute("DELETE FROM units WHERE phase = ? AND key = ?", (phase, key))
        self.database.execute("UPDATE phases SET state = 'running', ended = 0 WHERE path = ?", (phase,))

    def forget(self, phase: str) -> None:
        """Drop a phase, all inside it, and their records of progress (their files are collected later)."""
        below = (phase, phase + "/", phase + "0")  # '0' follows '/' in every collation used here
        for table, column in (
            ("units", "phase"),
            ("phases", "path"),
            ("snapshots", "loop"),
            ("history", "loop"),
        ):
            condition = f"{column} = ? OR ({column} >= ? AND {column} < ?)"
            self.database.execute(f"DELETE FROM {table} WHERE {condition}", below)  # noqa: S608 - fixed names
