"""`run.map`: units in parallel, each in a process of its own, with retries, a timeout and quarantine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from perdure import imports, results
from perdure.errors import DamagedError, Stopped
from perdure.executors import Call, Outcome, ProcessPool
from perdure.phase import Session
from perdure.seams import seam
from perdure.store.tables import Rows, rows_of
from perdure.store.units import Unit

_POLL = 0.25  # seconds between two looks at a waiting signal


@dataclass(frozen=True, slots=True)
class BlobFolder:
    """Where blobs lie that this attempt has verified already."""

    folder: Path

    def __call__(self, digest: str, suffix: str) -> Path:
        return self.folder / f"{digest}{suffix}"


class MapResults(Mapping[str, Any]):
    """Results by key, in the order of the keys; each is read from its record when it is asked for.

    `failed` holds the reason of each unit that is in quarantine. It may be handed to later steps and maps: its
    fingerprint is that of the recorded results, and workers read large arrays from the run's own files.
    """

    def __init__(self, documents: dict[str, str], failed: dict[str, str], blobs: BlobFolder) -> None:
        self._documents, self.failed, self._blobs = documents, failed, blobs

    def __getitem__(self, key: str) -> Any:
        return results.decode(self._documents[key], self._blobs)

    def __iter__(self) -> Iterator[str]:
        return iter(self._documents)

    def __len__(self) -> int:
        return len(self._documents)

    def __perdure_fingerprint__(self) -> str:
        return json.dumps([sorted(self._documents.items()), sorted(self.failed)])


def run_unit(
    function: Callable[[Any], object], path: str, seed: int | None, as_rows: bool, key: str, argument: object
) -> results.Encoded | Rows:
    """In the worker: one unit on its own random streams, its result ready for the driver to commit."""
    from perdure.snapshot import streams

    imports.install(arrived=streams.arrived)
    if seed is not None:
        streams.seed_unit(streams.seed_for(seed, path, key))
    value = function(argument)
    if as_rows:
        return rows_of(value)
    encoded = results.encode(value)
    blobs = tuple(results.Blob(b.digest, b.suffix, bytes(b.content)) for b in encoded.blobs)
    return results.Encoded(encoded.document, encoded.digest, blobs)


@dataclass(slots=True)
class Mapped:
    """One `run.map` in progress."""

    session: Session
    path: str
    items: dict[str, Any]
    function: Callable[[Any], object]
    workers: int
    retries: int
    timeout: float | None
    table: str | None
    data: bool
    fingerprint: str
    recovered: Callable[[], None]  # called before a unit that had failed is recorded as done
    tries: dict[str, int] = field(default_factory=dict)

    def run(self) -> MapResults:
        """Compute what is pending; returns all results."""
        began = time.monotonic()
        units = self._settled()
        pending = [key for key in self.items if key not in units]
        self._announce(units, pending)
        if pending:
            self.session.reopen(self.path)
            self._compute(pending, {key: position for position, key in enumerate(self.items)})
        units = self._current()
        failed = {key: str(unit.reason) for key, unit in units.items() if unit.state == "failed"}
        if failed:
            self.session.exit_code = 3
        self.session.complete(self.path, seconds=time.monotonic() - began)
        done = {key: str(unit.document) for key, unit in units.items() if unit.state == "done"}
        return MapResults(done, failed, BlobFolder(self.session.store.blobs.folder))

    def _settled(self) -> dict[str, Unit]:
        """Units that need no work: done, found in their table, or in quarantine and not to be retried."""
        self._find_in_table()
        units = self._current()
        if self.session.settings.retry_failed:
            units = {key: unit for key, unit in units.items() if unit.state != "failed"}
        return {key: unit for key, unit in units.items() if unit.state == "failed" or self._is_whole(unit)}

    def _current(self) -> dict[str, Unit]:
        recorded = self.session.store.units.all(self.path)
        return {key: recorded[key] for key in self.items if key in recorded and recorded[key].state != "redo"}

    def _is_whole(self, unit: Unit) -> bool:
        try:
            self._verify(unit)
        except DamagedError as error:
            self.session.lost(self.path, unit, error)
            return False
        return True

    def _verify(self, unit: Unit) -> None:
        """Look at the record and the files of a result, or at its rows, without loading them."""
        document = self.session.document_of(self.path, unit)
        if self.table and not self.session.store.tables.are_whole(self.table, self.path, unit.key):
            raise DamagedError(
                f"the rows of {self.path} {unit.key!r} in table {self.table!r} do not match their digest"
            )
        for digest, suffix in results.blobs_of(document):
            self.session.store.blobs.locate(digest, suffix)

    def _find_in_table(self) -> None:
        """Rows of a data table that are there with their digest: their units are done, whatever became of the
        record of progress."""
        if not self.table or not self.data:
            return
        recorded = self.session.store.units.all(self.path)
        if recorded.keys() >= self.items.keys():
            return
        found = self.session.store.tables.found(self.table, phase=self.path, fingerprint=self.fingerprint)
        positions = {key: position for position, key in enumerate(self.items)}
        with self.session.store.transaction():
            for key, (position, digest, count) in found.items():
                if key in positions and key not in recorded and position == positions[key]:
                    encoded = results.encode({"rows": count, "digest": digest})
                    self.session.store.units.complete(
                        self.path, key, position=position, document=encoded.document, digest=encoded.digest,
                        tries=0, seconds=0.0,
                    )  # fmt: skip
                    self.session.store.journal.add("unit found", self.path, key=key)

    def _announce(self, units: dict[str, Unit], pending: list[str]) -> None:
        failed = [key for key, unit in units.items() if unit.state == "failed"]
        if failed:
            shown = ", ".join(failed[:5]) + (" ..." if len(failed) > 5 else "")
            self.session.console.say(
                f"{self.path}: {len(failed)} failed before and are skipped ({shown}); --retry-failed tries them again"
            )
        if units and pending:
            self.session.console.say(f"{self.path}: resuming at {len(units) + 1} of {len(self.items)}")

    def _compute(self, pending: list[str], positions: dict[str, int]) -> None:
        call = partial(run_unit, self.function, self.path, self.session.seed, self.table is not None)
        pool = ProcessPool(call, workers=min(self.workers, len(pending)), timeout=self.timeout)
        try:
            for key in pending:
                pool.submit(Call(key, self.items[key]))
            left = len(pending)
            while left:
                for outcome in pool.wait(_POLL):
                    if self._settle(outcome, positions[outcome.key]):
                        left -= 1
                        self.session.console.progress(self.path, len(self.items) - left, len(self.items))
                    else:
                        pool.submit(Call(outcome.key, self.items[outcome.key]))
        except Stopped:
            self.session.console.say(
                f"{self.path}: {', '.join(pool.running) or 'nothing'} discarded; to start again next time"
            )
            raise
        finally:
            pool.close()

    def _settle(self, outcome: Outcome, position: int) -> bool:
        """Commit an outcome; False when the unit is to be tried again."""
        seam("unit.computed")
        tries = self.tries[outcome.key] = self.tries.get(outcome.key, 0) + 1
        if outcome.failure is None:
            assert isinstance(outcome.value, results.Encoded | Rows)
            before = self.session.store.units.one(self.path, outcome.key)
            if before is not None and before.state == "failed":
                self.recovered()
            self.session.commit_unit(
                self.path, outcome.key, outcome.value, position=position, tries=tries, seconds=outcome.seconds,
                table=self.table, data=self.data, fingerprint_digest=self.fingerprint,
                before=before,
            )  # fmt: skip
            return True
        if tries <= self.retries and outcome.retryable:
            self.session.console.say(f"{self.path} {outcome.key}: {outcome.failure}; trying again")
            return False
        self._quarantine(outcome, position, tries)
        return True

    def _quarantine(self, outcome: Outcome, position: int, tries: int) -> None:
        after = "" if tries == 1 else f" after {tries} tries"
        self.session.console.say(f"{self.path} {outcome.key}: {outcome.failure}; set aside{after}")
        with self.session.signals.deferred(), self.session.store.transaction():
            self.session.store.units.fail(
                self.path, outcome.key, position=position, reason=str(outcome.failure), tries=tries,
                seconds=outcome.seconds,
            )  # fmt: skip
            self.session.store.journal.add(
                "unit failed", self.path, key=outcome.key, reason=outcome.failure, traceback=outcome.traceback
            )


def default_workers() -> int:
    """As many workers as this process may use cores."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
