"""Attempts: one row for each process that worked on a run, and what became of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from perdure.store.database import Database
from perdure.store.lock import Holder

_SECRET = re.compile(r"(?i)(pass|secret|token|key|credential|auth)")


@dataclass(slots=True)
class Attempts:
    """Writes the `attempts` table; `current` is this process's row."""

    database: Database
    current: int = 0

    def begin(self, holder: Holder, command: Sequence[str]) -> int | None:
        """Open an attempt; returns the number of an earlier one that died without a word, if there is one."""
        dead = self.database.row("SELECT id FROM attempts WHERE outcome = 'running'")
        if dead:
            self.database.execute(
                "UPDATE attempts SET outcome = 'killed', ended_at = seen_at WHERE outcome = 'running'"
            )
        self.database.execute(
            "INSERT INTO attempts (started_at, seen_at, pid, process_started, boot, host, command) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (holder.since, holder.since, holder.pid, holder.process_started, holder.boot, holder.host,
             redacted_line(command)),
        )  # fmt: skip
        row = self.database.row("SELECT max(id) AS id FROM attempts")
        assert row is not None
        self.current = int(row["id"])
        return int(dead["id"]) if dead else None

    def seen(self, *, at: float, seconds: float, saving: float) -> None:
        """Still alive; so that a sudden death can be dated."""
        self.database.execute(
            "UPDATE attempts SET seen_at = ?, seconds = ?, saving_seconds = ? WHERE id = ?",
            (at, seconds, saving, self.current),
        )

    def end(self, *, at: float, seconds: float, saving: float, outcome: str, exit_code: int) -> None:
        self.seen(at=at, seconds=seconds, saving=saving)
        self.database.execute(
            "UPDATE attempts SET ended_at = ?, outcome = ?, exit_code = ? WHERE id = ?",
            (at, outcome, exit_code, self.current),
        )


def redacted_line(command: Sequence[str]) -> str:
    """A command for people: words, or lines that hold several, without their secrets."""
    return " ".join(redacted([word for part in command for word in part.split()]))


def redacted(command: Sequence[str]) -> list[str]:
    """A command line without values of options or variables whose names look secret."""
    shown: list[str] = []
    hide_next = False
    for word in command:
        name, separator, _ = word.partition("=")
        if hide_next:
            shown.append("***")
        elif separator and _SECRET.search(name):
            shown.append(f"{name}=***")
        else:
            shown.append(word)
        hide_next = not hide_next and word.startswith("-") and not separator and bool(_SECRET.search(word))
    return shown
