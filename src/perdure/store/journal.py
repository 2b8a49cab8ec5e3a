"""The journal: an append-only audit trail. The tables are the truth; the journal says how they came about."""

from __future__ import annotations

import json
from dataclasses import dataclass

from perdure.clock import Clock
from perdure.store.attempts import Attempts
from perdure.store.database import Database


@dataclass(frozen=True, slots=True)
class Journal:
    """Appends events, in the transaction of what they tell."""

    database: Database
    attempts: Attempts
    clock: Clock

    def has(self, event: str, subject: str) -> bool:
        sql = "SELECT 1 FROM journal WHERE event = ? AND subject = ? LIMIT 1"
        return self.database.row(sql, (event, subject)) is not None

    def add(self, event: str, subject: str = "", **detail: object) -> None:
        self.database.execute(
            "INSERT INTO journal (at, attempt, event, subject, detail) VALUES (?, ?, ?, ?, ?)",
            (self.clock.now(), self.attempts.current, event, subject, json.dumps(detail, sort_keys=True)),
        )
