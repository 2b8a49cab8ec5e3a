"""Rows of snapshots and of history: which generation counts, and what was logged up to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from perdure import files
from perdure.clock import Clock
from perdure.store.attempts import Attempts
from perdure.store.database import Database, Row, parsed

SUFFIX = ".safetensors"
UNSEALED = ""  # in the place of a file's SHA-256, in the moments before it is recorded


def folder_of(store_folder: Path, loop: str) -> Path:
    """Where the snapshot files of a loop lie."""
    return store_folder / "snapshots" / files.name_for(loop)


def path_of(store_folder: Path, loop: str, number: int) -> Path:
    """The snapshot file of one generation."""
    return folder_of(store_folder, loop) / f"{number:08d}{SUFFIX}"


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """Where a loop stands: `position` iterations are complete; inside the next one, the `stream`-th
    `run.batches` has handed out `batch` batches."""

    position: int
    stream: int = 0
    batch: int = 0


@dataclass(frozen=True, slots=True)
class Generation:
    """One committed snapshot."""

    loop: str
    number: int
    cursor: Cursor
    final: bool
    size: int  # bytes
    sha256: str  # or UNSEALED
    parts: dict[str, str]  # name -> digest
    logged: int  # history entries up to it
    inserted: int  # rows of user tables up to it
    state: str  # 'kept', 'removed' (by retention) or 'damaged'

    @classmethod
    def of(cls, row: Row) -> Generation:
        return cls(
            row["loop"], row["generation"], Cursor(row["position"], row["stream"], row["batch"]),
            bool(row["final"]), row["size"], row["sha256"], parsed(row["parts"]), row["logged"], row["inserted"],
            row["state"],
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One `run.log`: values logged while `position` iterations of the loop were complete."""

    seq: int
    position: int
    values: dict[str, object]

    def as_document(self) -> list[object]:
        return [self.seq, self.position, self.values]


@dataclass(frozen=True, slots=True)
class Generations:
    """Reads and writes the tables `snapshots` and `history`."""

    database: Database
    attempts: Attempts
    clock: Clock

    def of_loop(self, loop: str) -> list[Generation]:
        """All recorded generations, oldest first."""
        rows = self.database.rows("SELECT * FROM snapshots WHERE loop = ? ORDER BY generation", (loop,))
        return [Generation.of(row) for row in rows]

    def kept(self, loop: str) -> list[Generation]:
        """Those whose files are there, oldest first."""
        rows = self.database.rows(
            "SELECT * FROM snapshots WHERE loop = ? AND state = 'kept' ORDER BY generation", (loop,)
        )
        return [Generation.of(row) for row in rows]

    def loops(self) -> list[str]:
        return [row[0] for row in self.database.rows("SELECT DISTINCT loop FROM snapshots ORDER BY loop")]

    def commit(self, generation: Generation, *, stall_seconds: float) -> None:
        cursor = generation.cursor
        self.database.execute(
            "INSERT INTO snapshots (loop, generation, position, stream, batch, final, size, sha256, parts, logged, "
            "inserted, stall_seconds, at, attempt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (generation.loop, generation.number, cursor.position, cursor.stream, cursor.batch, generation.final,
             generation.size, generation.sha256, json.dumps(generation.parts, sort_keys=True), generation.logged,
             generation.inserted, stall_seconds, self.clock.now(), self.attempts.current),
        )  # fmt: skip

    def seal(self, loop: str, number: int, sha256: str) -> None:
        """Record the digest of a generation's file."""
        self.database.execute(
            "UPDATE snapshots SET sha256 = ? WHERE loop = ? AND generation = ?", (sha256, loop, number)
        )

    def correct(self, generation: Generation) -> None:
        """Write again what a damaged row must say."""
        cursor = generation.cursor
        self.database.execute(
            "UPDATE snapshots SET position = ?, stream = ?, batch = ?, final = ?, parts = ?, logged = ?, inserted = ? "
            "WHERE loop = ? AND generation = ?",
            (cursor.position, cursor.stream, cursor.batch, generation.final,
             json.dumps(generation.parts, sort_keys=True), generation.logged, generation.inserted,
             generation.loop, generation.number),
        )  # fmt: skip

    def mark(self, loop: str, number: int, state: str) -> None:
        self.database.execute(
            "UPDATE snapshots SET state = ? WHERE loop = ? AND generation = ?", (state, loop, number)
        )

    def supersede(self, loop: str) -> None:
        """Changes were accepted: generations that are no longer kept say nothing about what comes next."""
        self.database.execute(
            "UPDATE snapshots SET state = 'superseded' WHERE loop = ? AND state != 'kept'", (loop,)
        )

    def rewind(self, loop: str, *, logged: int) -> int:
        """Delete history that came after the generation a loop resumes from; returns how many entries."""
        row = self.database.row("SELECT count(*) FROM history WHERE loop = ? AND seq >= ?", (loop, logged))
        self.database.execute("DELETE FROM history WHERE loop = ? AND seq >= ?", (loop, logged))
        return int(row[0]) if row else 0

    def log(self, loop: str, entries: Sequence[Entry]) -> None:
        """Write entries; they are provisional until a generation that has them is committed."""
        now, attempt = self.clock.now(), self.attempts.current
        self.database.execute_many(
            "INSERT OR REPLACE INTO history (loop, seq, position, entry, at, attempt) VALUES (?, ?, ?, ?, ?, ?)",
            [(loop, e.seq, e.position, json.dumps(e.values), now, attempt) for e in entries],
        )

    def takeovers(self, loop: str) -> list[int]:
        """Positions at which the history was continued by another attempt."""
        rows = self.database.rows(
            "SELECT min(position) AS first FROM history WHERE loop = ? GROUP BY attempt ORDER BY first",
            (loop,),
        )
        return [int(row["first"]) for row in rows[1:]]

    def entries(self, loop: str) -> list[Entry]:
        rows = self.database.rows(
            "SELECT seq, position, entry FROM history WHERE loop = ? ORDER BY seq", (loop,)
        )
        return [Entry(row["seq"], row["position"], parsed(row["entry"])) for row in rows]
