"""Blobs: immutable files named by their SHA-256, in `blobs/`. A file counts only through its row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from perdure import files
from perdure.clock import Clock
from perdure.errors import DamagedError
from perdure.store.database import Database


@dataclass(frozen=True, slots=True)
class Blobs:
    """Reads and writes `blobs/` and its table."""

    folder: Path
    database: Database
    clock: Clock

    def path(self, digest: str, suffix: str) -> Path:
        return self.folder / f"{digest}{suffix}"

    def publish(self, digest: str, suffix: str, content: Iterable[files.Content]) -> int:
        """Put the file in its place; `record` must follow in the transaction that refers to it."""
        path = self.path(digest, suffix)
        if path.exists() and files.digest(path) == digest:
            files.sync_folder(self.folder)  # it may stem from an attempt that died before this sync
            return path.stat().st_size
        return files.publish(path, content, kind="blob")

    def record(self, digest: str, suffix: str, size: int) -> None:
        self.database.execute(
            "INSERT OR IGNORE INTO blobs (digest, suffix, size, at) VALUES (?, ?, ?, ?)",
            (digest, suffix, size, self.clock.now()),
        )

    def locate(self, digest: str, suffix: str) -> Path:
        """The verified file. Raises DamagedError, after setting a damaged file aside."""
        path = self.path(digest, suffix)
        if not path.exists():
            raise DamagedError(f"{path} is missing, though its record says it was saved")
        if files.digest(path) != digest:
            aside = files.set_aside(path)
            raise DamagedError(f"{path} does not match its digest; it was kept as {aside.name}")
        return path
