"""A token bucket in a small SQLite file: one allowance for all worker processes, which outlives them all."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from perdure import files
from perdure.errors import StorageError

_TABLE = "CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, tokens REAL NOT NULL, at REAL NOT NULL)"


@dataclass(frozen=True, slots=True)
class Bucket:
    """`rate` requests a second on average, at most `burst` at once, for all who share `path` and `name`.

    now: seconds since the epoch. Wall time, because the allowance must hold across restarts of the machine.
    """

    path: Path
    name: str
    rate: float
    burst: float
    now: Callable[[], float] = time.time
    sleep: Callable[[float], None] = time.sleep

    def take(self) -> None:
        """Wait until one request is allowed."""
        wait = self._reserve()
        if wait > 0:
            self.sleep(wait)

    def _reserve(self) -> float:
        """Take a token, on credit where there is none; returns the seconds after which it is covered."""
        files.make_folder(self.path.parent)
        try:
            with contextlib.closing(
                sqlite3.connect(self.path, isolation_level=None, timeout=60)
            ) as connection:
                connection.execute(_TABLE)
                connection.execute("BEGIN IMMEDIATE")  # so that no two processes take the same token
                row = connection.execute(
                    "SELECT tokens, at FROM buckets WHERE name = ?", (self.name,)
                ).fetchone()
                tokens = self._filled(*row) - 1 if row else self.burst - 1
                connection.execute(
                    "INSERT OR REPLACE INTO buckets (name, tokens, at) VALUES (?, ?, ?)",
                    (self.name, tokens, self.now()),
                )
                connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(
                f"cannot use {self.path}: {error}; it only counts requests, so remove it and run again"
            ) from error
        return max(0.0, -tokens / self.rate)

    def _filled(self, tokens: float, at: float) -> float:
        passed = max(0.0, self.now() - at)  # a clock that was set back gives nothing, and takes nothing
        return min(self.burst, tokens + passed * self.rate)
