"""The registry: trials, versions of the model, which of them is deployed, and why.

Every change is one transaction, so that a process killed at any instruction leaves the state before or after it. What
is recorded a second time by a run that resumes (the same trial, model or judgement) counts once.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from perdure import files
from perdure.errors import UsageError
from perdure.pipelines.market.deployment.gate import Check
from perdure.pipelines.market.deployment.ledger import MODELS, Ledger
from perdure.pipelines.market.deployment.records import (
    Deployment,
    ModelVersion,
    Trial,
    Verdict,
    as_text,
    content,
    finite,
)

CHAMPION, CHALLENGER = "champion", "challenger"
FILE = "registry.db"


class Registry:
    """The registry in the file `path`; use it in a `with` block, in one thread. `now`: seconds since 1970."""

    def __init__(self, path: Path, *, now: Callable[[], float] = time.time) -> None:
        self.path = path
        self._now = now
        self._ledger = Ledger(path)

    @classmethod
    def existing(cls, path: Path) -> Self:
        """A registry that must be there. Raises UsageError."""
        if not path.is_file():
            raise UsageError(
                f"there is no registry {path}; train a model with `perdure run market`, or name the registry's file"
            )
        return cls(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ledger.close()

    def require_writable(self) -> None:
        """Raises StorageError where nothing could be recorded, and LockedError after 30 s of another's transaction."""
        with self._ledger.transaction():
            pass

    # -- trials and the lockbox ----------------------------------------------------------------------------------

    def record_trial(
        self, name: str, *, digest: str, run: str, config: Mapping[str, Any], metrics: Mapping[str, Any]
    ) -> None:
        """Count a trained model, once for each `digest`; an evaluation made again takes the place of the first."""
        with self._ledger.transaction():
            self._ledger.execute(
                "INSERT INTO trial (name, digest, run, config, metrics, at) VALUES (?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (name, digest) DO UPDATE SET metrics = excluded.metrics",
                (name, digest, run, as_text(config), as_text(metrics), self._now()),
            )

    def trials(self, name: str) -> tuple[Trial, ...]:
        """All trials, oldest first."""
        rows = self._ledger.rows("SELECT * FROM trial WHERE name = ? ORDER BY number", (name,))
        return tuple(
            Trial(
                row["name"], row["digest"], row["run"], json.loads(row["config"]), json.loads(row["metrics"]),
                row["at"],
            )
            for row in rows
        )  # fmt: skip

    def open_lockbox(self, run: str, *, why: str) -> int:
        """Log that the newest, held back part of the data is looked at; returns how often it was, with this time."""
        with self._ledger.transaction():
            self._ledger.execute(
                "INSERT INTO lockbox_opening (run, at, why) VALUES (?, ?, ?)", (run, self._now(), why)
            )
        return len(self.lockbox_openings())

    def lockbox_openings(self) -> tuple[tuple[str, float, str], ...]:
        """(run, at, why) of each opening, oldest first."""
        rows = self._ledger.rows("SELECT run, at, why FROM lockbox_opening ORDER BY number")
        return tuple((row["run"], row["at"], row["why"]) for row in rows)

    # -- versions ------------------------------------------------------------------------------------------------

    def add(
        self, name: str, content: bytes, *, run: str, feature_digest: str, trained_until: str,
        metrics: Mapping[str, Any],
    ) -> ModelVersion:  # fmt: skip
        """Store an ensemble's bytes as the next version, and make it the challenger.

        Bytes that are stored already keep their version, and what it is now. The file comes first: one that a killed
        process left without a row counts for nothing, and the next attempt uses it.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self._stored(digest, content)
        with self._ledger.transaction():
            known = self._by_digest(name, digest)
            if known is not None:
                return known
            (newest,) = self._ledger.rows(
                "SELECT max(version) AS number FROM model_version WHERE name = ?", (name,)
            )
            version = (newest["number"] or 0) + 1
            self._ledger.execute(
                "INSERT INTO model_version VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, version, digest, path.relative_to(self.path.parent).as_posix(), feature_digest, trained_until,
                 run, as_text(metrics), self._now()),
            )  # fmt: skip
            self._ledger.execute(
                "INSERT INTO alias VALUES (?, ?, ?, (SELECT version FROM alias WHERE name = ? AND alias = ?), NULL) "
                "ON CONFLICT (name, alias) DO UPDATE SET version = excluded.version, previous = alias.version",
                (name, CHALLENGER, version, name, CHALLENGER),
            )
        return self.version(name, version)

    def _stored(self, digest: str, content: bytes) -> Path:
        path = self.path.parent / MODELS / f"{digest}.zip"
        files.make_folder(path.parent)
        if path.exists():
            if files.digest(path) == digest:
                return path
            files.set_aside(path)
        files.publish(path, [content], kind="model")
        return path

    def version(self, name: str, version: int) -> ModelVersion:
        """One version. Raises UsageError when there is none of that number."""
        row = self._ledger.row("SELECT * FROM model_version WHERE name = ? AND version = ?", (name, version))
        if row is None:
            known = ", ".join(str(one.version) for one in self.versions(name)) or "none at all"
            raise UsageError(f"{self.path} has no version {version} of {name}; it has {known}")
        return self._model_version(row)

    def versions(self, name: str) -> tuple[ModelVersion, ...]:
        """All versions, oldest first."""
        rows = self._ledger.rows("SELECT * FROM model_version WHERE name = ? ORDER BY version", (name,))
        return tuple(self._model_version(row) for row in rows)

    def _by_digest(self, name: str, digest: str) -> ModelVersion | None:
        row = self._ledger.row("SELECT * FROM model_version WHERE name = ? AND digest = ?", (name, digest))
        return None if row is None else self._model_version(row)

    def _model_version(self, row: sqlite3.Row) -> ModelVersion:
        return ModelVersion(
            row["name"], row["version"], row["digest"], self.path.parent / row["path"], row["feature_digest"],
            row["trained_until"], row["run"], json.loads(row["metrics"]), row["created_at"],
        )  # fmt: skip

    def alias(self, name: str, alias: str = CHAMPION) -> ModelVersion | None:
        """The version that an alias stands for now."""
        row = self._ledger.row(
            "SELECT model_version.* FROM model_version JOIN alias USING (name, version) WHERE name = ? AND alias = ?",
            (name, alias),
        )
        return None if row is None else self._model_version(row)

    # -- the gate ------------------------------------------------------------------------------------------------

    def record_gate(self, name: str, version: int, checks: Sequence[Check], *, against: int | None) -> None:
        """Record what the gate found, with every number. against: the champion it was compared with.

        The judgement that the version has already is not recorded again. Raises UsageError for an unknown version.
        """
        if not checks:
            raise UsageError("a judgement without checks judges nothing; pass what gate.judge returned")
        found = [(c.name, c.verdict, finite(c.value), c.threshold, c.text) for c in checks]
        with self._ledger.transaction():
            known = self.gate(name, self.version(name, version).version)
            if [(v.check, v.verdict, v.value, v.threshold, v.text) for v in known] == found and (
                known[0].against == against
            ):
                return
            (last,) = self._ledger.rows("SELECT max(judgement) AS number FROM gate_result")
            judgement, at = (last["number"] or 0) + 1, self._now()
            for values in found:
                self._ledger.execute(
                    "INSERT INTO gate_result VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (judgement, name, version, against, *values, at),
                )

    def gate(self, name: str, version: int) -> tuple[Verdict, ...]:
        """The newest judgement of a version, check by check; nothing when the gate never judged it."""
        rows = self._ledger.rows(
            "SELECT * FROM gate_result WHERE name = ? AND version = ? AND judgement = "
            "(SELECT max(judgement) FROM gate_result WHERE name = ? AND version = ?) ORDER BY rowid",
            (name, version, name, version),
        )
        return tuple(
            Verdict(
                row["check_name"], row["verdict"], row["value"], row["threshold"], row["text"], row["against"],
                row["at"],
            )
            for row in rows
        )  # fmt: skip

    # -- deployment ----------------------------------------------------------------------------------------------

    def promote(
        self, name: str, version: int | None = None, *, who: str, force: str | None = None
    ) -> Deployment:
        """Make a version (the challenger, where none is named) the champion.

        Raises UsageError where the gate did not pass it, unless `force` gives a reason, which is recorded, and
        DamagedError where the model's file is not there, or is another. The champion's own version changes nothing,
        and returns the promotion that made it so.
        """
        if force is not None and not force.strip():
            raise UsageError("a forced promotion needs a reason, which is recorded; say why")
        with self._ledger.transaction():
            chosen = self._chosen(name, version)
            standing = self._standing(name)
            if standing is not None and standing["version"] == chosen:
                return self._deployment(standing["promotion"])
            content(self.version(name, chosen))  # better refused now than by every forecast
            champion = None if standing is None else standing["version"]
            objections = self._objections(name, chosen, champion)
            if objections and force is None:
                listed = "".join(f"\n  - {one}" for one in objections)
                raise UsageError(
                    f"version {chosen} of {name} is not promoted:{listed}\ntrain a better one, or promote it all the "
                    "same with --force REASON, which is recorded"
                )
            before = None if standing is None else standing["promotion"]
            number = self._log("promote", name, chosen, champion, before, who, force, forced=bool(objections))
            self._point(name, chosen, champion, number)
            self._ledger.execute(
                "DELETE FROM alias WHERE name = ? AND alias = ? AND version = ?", (name, CHALLENGER, chosen)
            )
            return self._deployment(number)

    def rollback(self, name: str, *, who: str, reason: str | None = None) -> Deployment:
        """Make the version that was champion before the present one champion again.

        A second rollback goes back one promotion further. Raises UsageError when there is nothing before.
        """
        with self._ledger.transaction():
            standing = self._standing(name)
            if standing is None:
                raise UsageError(
                    f"no version of {name} was ever promoted, so that there is nothing to roll back"
                )
            left = self._promotion(standing["promotion"])
            if left["before"] is None:
                raise UsageError(
                    f"version {left['version']} is the first champion of {name}: there is none before it to go back to"
                )
            target = self._promotion(left["before"])
            number = self._log(
                "rollback", name, target["version"], left["version"], None, who, reason, forced=False
            )
            self._point(name, target["version"], target["replaced"], target["number"])
            return self._deployment(number)

    def deployments(self, name: str) -> tuple[Deployment, ...]:
        """Every promotion and rollback, oldest first."""
        rows = self._ledger.rows("SELECT number FROM deployment WHERE name = ? ORDER BY number", (name,))
        return tuple(self._deployment(row["number"]) for row in rows)

    def _chosen(self, name: str, version: int | None) -> int:
        if version is not None:
            return self.version(name, version).version
        challenger = self.alias(name, CHALLENGER)
        if challenger is not None:
            return challenger.version
        champion = self.alias(name)
        now = (
            "there is no champion either"
            if champion is None
            else f"version {champion.version} is the champion"
        )
        raise UsageError(
            f"no version of {name} waits for promotion, and {now}; train one with `perdure run {name}`, or name a "
            "version"
        )

    def _standing(self, name: str) -> sqlite3.Row | None:
        """The row of the champion."""
        return self._ledger.row("SELECT * FROM alias WHERE name = ? AND alias = ?", (name, CHAMPION))

    def _objections(self, name: str, version: int, champion: int | None) -> list[str]:
        """Why the gate does not let a version pass."""
        verdicts = self.gate(name, version)
        if not verdicts:
            return ["the gate has not judged it"]
        failed = [f"{one.check}: {one.text}" for one in verdicts if one.verdict == "failed"]
        if verdicts[0].against != champion:
            compared, now = (
                "no champion" if number is None else f"champion {number}"
                for number in (verdicts[0].against, champion)
            )
            failed.append(f"it was judged against {compared}, and there is {now} now")
        return failed

    def _promotion(self, number: int) -> sqlite3.Row:
        (row,) = self._ledger.rows("SELECT * FROM deployment WHERE number = ?", (number,))
        return row

    def _deployment(self, number: int) -> Deployment:
        row = self._promotion(number)
        return Deployment(
            row["number"], row["name"], row["action"], row["version"], row["replaced"], row["who"], row["at"],
            row["reason"], bool(row["forced"]),
        )  # fmt: skip

    def _log(
        self, action: str, name: str, version: int, replaced: int | None, before: int | None, who: str,
        reason: str | None, *, forced: bool,
    ) -> int:  # fmt: skip
        self._ledger.execute(
            "INSERT INTO deployment (name, action, version, replaced, before, who, at, reason, forced) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (name, action, version, replaced, before, who, self._now(), reason, int(forced)),
        )
        (row,) = self._ledger.rows("SELECT last_insert_rowid() AS number")
        return int(row["number"])

    def _point(self, name: str, version: int, previous: int | None, promotion: int) -> None:
        self._ledger.execute(
            "INSERT INTO alias VALUES (?, ?, ?, ?, ?) ON CONFLICT (name, alias) DO UPDATE SET "
            "version = excluded.version, previous = excluded.previous, promotion = excluded.promotion",
            (name, CHAMPION, version, previous, promotion),
        )
