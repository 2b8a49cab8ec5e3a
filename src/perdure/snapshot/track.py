"""The track of one loop: its generations from the one it resumes from to the final one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from perdure import files
from perdure.errors import DamagedError, NondeterminismError
from perdure.snapshot import codec, commit
from perdure.snapshot.commit import Capture, Header, LoopRows, Staged
from perdure.snapshot.parts import Part, canonical
from perdure.snapshot.policy import Budget, Progress, SavePolicy
from perdure.snapshot.staging import Staging
from perdure.snapshot.writer import Writer
from perdure.store import Store, backup
from perdure.store.generations import Cursor, Entry, Generation
from perdure.store.tables import Rows


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A loaded generation: arrays (memory-mapped) and documents by part."""

    cursor: Cursor
    final: bool
    number: int
    header: Header
    arrays: dict[str, np.ndarray]

    def part(self, name: str) -> tuple[dict[str, np.ndarray], str | None]:
        prefix = name + "/"
        arrays = {key[len(prefix) :]: array for key, array in self.arrays.items() if key.startswith(prefix)}
        return arrays, self.header.documents.get(name)


@dataclass(slots=True)
class Best:
    """The best state so far, in memory of its own. It rides in every snapshot."""

    value: float
    position: int  # the iteration that reached it
    staged: Staged
    digest: str


@dataclass(slots=True)
class Track:
    """Saves and resumes one loop. All methods but `_write` run on the training thread."""

    store: Store
    writer: Writer
    budget: Budget
    policy: SavePolicy
    loop: str
    fingerprint: str
    keep: int = 2
    newest: Generation | None = None
    best: Best | None = None
    entries: list[Entry] = field(default_factory=list)  # logged in this attempt and not yet captured
    logged: int = 0
    rows: list[LoopRows] = field(default_factory=list)
    inserted: int = 0
    _staging: Staging = field(default_factory=Staging)
    _best_staging: tuple[Staging, Staging] = field(default_factory=lambda: (Staging(), Staging()))
    _unflushed: list[Entry] = field(default_factory=list)
    _expected: dict[Cursor, Generation] = field(default_factory=dict)
    _number: int = 0
    _saved_at: float = 0.0
    _batches: int = 0
    _exported: str = ""
    _history: str = ""  # digest of all entries up to the last capture
    is_stale: bool = False  # no array changed between the last two snapshots

    # -- resuming ------------------------------------------------------------------------------------------------

    def resume(self) -> Snapshot | None:
        """The newest generation that verifies, or None for a fresh start.

        Raises DamagedError when there were generations and none of them is whole: starting over in silence would
        hide the loss.
        """
        recorded = self.store.generations.of_loop(self.loop)
        self._number = max((g.number for g in recorded), default=0)
        self._saved_at = self.store.clock.monotonic()
        kept = [g for g in recorded if g.state == "kept"]
        if not kept:
            if any(g.state == "damaged" for g in recorded):
                raise DamagedError(
                    f"every kept snapshot of {self.loop!r} in {self.store.folder} is damaged; mend it "
                    f"(`perdure verify --repair {self.store.folder}`), restore a backup (`perdure backups "
                    f"{self.store.folder}`), or compute it again with --redo {self.loop}"
                )
            return None
        self.newest = kept[-1]
        self._expected = {
            g.cursor: g for g in recorded if g.state != "superseded" and g.cursor > self.newest.cursor
        }
        self._check_history(self.newest)
        self._check_rows(self.newest)
        snapshot = self._load(self.newest)
        self.logged, self.inserted = self.newest.logged, self.newest.inserted
        self._restore_best(snapshot)
        if self.best is not None:
            best = self.best.staged  # the attempt before may have died before it was exported
            self.writer.submit(lambda: self._export(best))
        return snapshot

    def _check_history(self, newest: Generation) -> None:
        """Compare the history in the database with the digest that the snapshot took of it."""
        self._history = commit.history_digest("", self.store.generations.entries(self.loop))
        if self._history != newest.parts["history"]:
            raise DamagedError(
                f"the history of {self.loop!r} in {self.store.database.path} is not what generation {newest.number} "
                f"was saved with; mend it (`perdure verify --repair {self.store.folder}`), restore a backup (`perdure "
                f"backups {self.store.folder}`), or compute it again with --redo {self.loop}"
            )

    def _check_rows(self, newest: Generation) -> None:
        """Compare the rows in the user's tables with the count that the snapshot took, and with their digests."""
        count, altered = self.store.tables.added_by(self.loop)
        if count != newest.inserted:
            what = f"are {count} and were {newest.inserted}"
        elif altered:
            what = f"in table {altered[0]!r} are not what they were"
        else:
            return
        raise DamagedError(
            f"the rows of {self.loop!r} {what} when generation {newest.number} was saved; mend it (`perdure verify "
            f"--repair {self.store.folder}`), restore a backup (`perdure backups {self.store.folder}`), or compute it "
            f"again with --redo {self.loop}"
        )

    def _load(self, generation: Generation) -> Snapshot:
        path = commit.path_of(self.store.folder, self.loop, generation.number)
        arrays, document = codec.read(path)
        header = commit.header_of(document, arrays, path=path)
        return Snapshot(generation.cursor, generation.final, generation.number, header, arrays)

    def _restore_best(self, snapshot: Snapshot) -> None:
        if snapshot.header.best is None:
            return
        prefix = "best/"
        arrays = {k[len(prefix) :]: a for k, a in snapshot.arrays.items() if k.startswith(prefix)}
        documents = dict(snapshot.header.best)
        value, position = documents.pop("best").split()
        self._hold_best(float(value), int(position), arrays, documents)

    # -- what the loop's body produces ---------------------------------------------------------------------------

    def log(self, values: dict[str, object], *, position: int) -> None:
        """Add a history entry. It is provisional until a snapshot holds it."""
        entry = Entry(self.logged, position, values)
        self.logged += 1
        self.entries.append(entry)
        if self.newest is None or entry.seq >= self.newest.logged:
            self._unflushed.append(entry)

    def insert(self, table: str, rows: Rows, *, position: int) -> None:
        """Add rows to a user table; they commit with the next snapshot."""
        self.rows.append(LoopRows(table, rows, position, self.inserted))
        self.inserted += len(rows.values)

    def say_again(self, position: int) -> None:
        """The beginning of iteration `position` runs again: what it logs, it has logged before."""
        saved = self.store.generations.entries(self.loop)
        self.logged = sum(entry.position < position for entry in saved)

    def forget_unsaved(self) -> None:
        """Drop what was logged and inserted since the snapshot: it has it already."""
        assert self.newest is not None
        self.entries, self.rows, self._unflushed = [], [], []
        self.logged, self.inserted = self.newest.logged, self.newest.inserted

    def flush(self) -> None:
        """Show what was logged since the last save to other processes. Runs on the writer's thread."""
        pending, self._unflushed = self._unflushed, []
        if pending:
            with self.store.transaction():
                self.store.generations.log(self.loop, pending)

    def offer_best(self, value: float, *, position: int, parts: Sequence[Part], maximize: bool) -> bool:
        """Hold these parts if `value` beats the best one so far. NaN never does."""
        if value != value or (
            self.best is not None and not (value > self.best.value if maximize else value < self.best.value)
        ):
            return False
        began = time.perf_counter()
        documents = {part.name: canonical(part.document) for part in parts}
        self._hold_best(value, position, _named(parts), documents)
        self.budget.spend(time.perf_counter() - began)
        return True

    def _hold_best(
        self, value: float, position: int, arrays: dict[str, np.ndarray], documents: dict[str, str]
    ) -> None:
        """Copy into the buffer that neither the present best nor a write in flight uses."""
        self.writer.settle()
        spare, other = self._best_staging
        self._best_staging = (other, spare)
        layout = spare.copy(arrays)
        staged = Staged({**documents, "best": f"{value!r} {position}"}, layout, spare.bytes_of(layout))
        self.best = Best(value, position, staged, staged.digest())

    # -- saving --------------------------------------------------------------------------------------------------

    def batch_done(self) -> None:
        self._batches += 1

    def is_due(self, *, iteration_ended: bool) -> bool:
        """Whether to save now: the policy asks for it, the budget allows it, and nothing is in flight.

        Without a budget every save that is due is made, and waits for the one before.
        """
        self.writer.check()
        seconds = self.store.clock.monotonic() - self._saved_at
        if not self.policy.is_due(Progress(seconds, self._batches, iteration_ended)):
            return False
        if self.budget.share is None:
            return True
        return not self.writer.is_busy and self.budget.allows_save()

    def save(
        self,
        cursor: Cursor,
        capture_parts: Callable[[], Sequence[Part]],
        *,
        final: bool = False,
        wait: bool = False,
    ) -> None:
        """Capture the parts and let the writer commit them. With `wait` the snapshot is on disk on return."""
        self.writer.settle()
        if self.newest is not None and self.newest.cursor == cursor and self.newest.final == final:
            return
        began = time.perf_counter()
        parts = capture_parts()
        layout = self._staging.copy(_named(parts))
        documents = {part.name: canonical(part.document) for part in parts}
        self._number += 1
        stall = time.perf_counter() - began
        best = self.best
        self._history = commit.history_digest(self._history, self.entries)
        capture = Capture(
            self.loop, self._number, cursor, final, self.fingerprint, commit.lineage(self.store, self.newest),
            Staged(documents, layout, self._staging.bytes_of(layout)), best.staged if best else None,
            best.digest if best else "", tuple(self.entries), self.logged, self._history, tuple(self.rows),
            self.inserted, stall,
        )  # fmt: skip
        self.entries, self.rows, self._unflushed, self._batches = [], [], [], 0
        self._saved_at = self.store.clock.monotonic()
        self.budget.spend(stall)
        self.writer.submit(lambda: self._write(capture))
        if wait or final:
            self.writer.wait()

    def _write(self, capture: Capture) -> None:
        """On the writer's thread: make the capture durable, then let go of what it replaces."""
        began = time.thread_time()
        generation = commit.write(self.store.folder, capture, lambda parts: self._compare(capture, parts))
        self._look_for_change(capture, generation.parts)
        retired = self._retired(generation)
        commit.record(self.store, generation, capture, retired=retired)
        self.newest = generation
        if capture.best is not None:
            self._export(capture.best)
        cost = time.thread_time() - began
        self.budget.spend(cost)
        self.writer.afterwards(lambda: self._tidy(generation, capture, retired, cost + capture.stall_seconds))

    def _compare(self, capture: Capture, parts: dict[str, str]) -> None:
        """Work that is done again must give the bits of the first time.

        Asked before the file has its name: the next start would take it for good.
        """
        first = self._expected.pop(capture.cursor, None)
        if first is None or first.final != capture.final or first.parts == parts:
            return
        different = sorted(n for n in first.parts | parts if first.parts.get(n) != parts.get(n))
        raise NondeterminismError(
            f"{self.loop!r} was computed again from generation {self.newest.number if self.newest else 0} and gave "
            f"other bits at {capture.cursor.position} iterations: part {', '.join(different)} differs from "
            f"generation {first.number}. Something in the script depends on time, on the order of a set, or on a "
            "stream that is not captured; `perdure why` lists what changed on this machine"
        )

    def _retired(self, generation: Generation) -> list[int]:
        """Generations that retention lets go of once `generation` is committed."""
        known = backup.known_generations(self.store.folder).get(self.loop)
        kept = self.store.generations.kept(self.loop)
        stay = {g.number for g in kept[max(0, len(kept) - (self.keep - 1)) :]} | {known}
        return [g.number for g in kept if g.number not in stay and not g.final]

    def _tidy(self, generation: Generation, capture: Capture, retired: list[int], spent: float) -> None:
        """On the writer's thread, when nobody waits any more: to free a file's pages takes as long as to write them."""
        began = time.thread_time()
        commit.seal(self.store, generation, capture)
        for number in retired:
            files.remove(commit.path_of(self.store.folder, self.loop, number))
        cost = time.thread_time() - began
        self.budget.spend(cost)
        self.budget.learn(spent + cost)

    def _look_for_change(self, capture: Capture, parts: dict[str, str]) -> None:
        """An array that the script replaces (`w = w - g`) instead of changing it stays as it was at the start."""
        before = self.newest
        if before is None or before.cursor.position == capture.cursor.position:
            return
        arrays = {tensor.name.partition("/")[0] for tensor in capture.staged.layout} - {"streams"}
        self.is_stale = bool(arrays) and all(parts[name] == before.parts.get(name) for name in arrays)

    def _export(self, best: Staged) -> None:
        """On the writer's thread: write the best state for people, unless it is there."""
        document = canonical({"loop": self.loop, "documents": best.documents})
        path = self.store.folder / "exports" / f"{files.name_for(self.loop)}.best.safetensors"
        if self._exported != document and not (path.exists() and _document_of(path) == document):
            files.publish(path, [codec.header(best.layout, document), best.content], kind="export")
        self._exported = document

    def best_part(self, name: str) -> tuple[Mapping[str, np.ndarray], str | None]:
        """Arrays and document of one part of the best state. Raises KeyError when there is no best yet."""
        if self.best is None:
            raise KeyError(name)
        staged, prefix = self.best.staged, name + "/"
        content = np.frombuffer(staged.content, np.uint8)
        arrays = {
            t.name[len(prefix) :]: content[t.start : t.start + t.size]
            .view(codec.dtype_of(t.dtype))
            .reshape(t.shape)
            for t in staged.layout
            if t.name.startswith(prefix)
        }
        return arrays, staged.documents.get(name)


def _document_of(path: Path) -> str | None:
    try:
        return codec.read(path)[1]
    except DamagedError:
        return None


def _named(parts: Sequence[Part]) -> dict[str, np.ndarray]:
    return {f"{part.name}/{name}": array for part in parts for name, array in part.tensors.items()}
