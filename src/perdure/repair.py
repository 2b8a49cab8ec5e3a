"""Mend a run: the database from its backup, loops from earlier snapshots, results by new work.

Nothing is thrown away that could be read: damaged files are set aside under `<name>.damaged-N`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from perdure import changes, files
from perdure.clock import Clock
from perdure.errors import DamagedError
from perdure.examination import bytes_of, examine, export_path
from perdure.snapshot import codec, commit, recovery
from perdure.snapshot.parts import canonical
from perdure.store import DATABASE, Store, backup
from perdure.store.check import Checked, Finding
from perdure.store.database import Reader
from perdure.store.generations import path_of
from perdure.store.lock import Lock
from perdure.store.schema import format_of, is_whole
from perdure.store.store import SMALLEST_FREE


@dataclass(frozen=True, slots=True)
class Repaired:
    """What a repair did, and what of the run is to be computed again; a line for each."""

    done: tuple[str, ...]
    lost: tuple[str, ...]


def repair(folder: Path, *, clock: Clock) -> Repaired:
    """Mend what can be mended. What is lost is computed again by the next start.

    Raises LockedError while a process holds the run, DamagedError when neither the database nor its backup can be
    read, FormatError for a run of a newer perdure, StorageError.
    """
    # Before the first look at the database, which leaves files beside it.
    files.require_space(folder, SMALLEST_FREE, purpose="a repair")
    before = _progress_in(folder, "kept", "damaged")
    unreadable: DamagedError | None = None
    try:
        done, problem = _mended(folder, clock)
    except DamagedError as error:
        done, problem, unreadable = [], "holds what cannot be read", error
    if problem:
        replaced = _take_backup(folder, clock, problem)
        if unreadable and not replaced:
            raise unreadable
        done += [replaced, *_mended(folder, clock)[0]] if replaced else []
    return Repaired(tuple(done), tuple(_lost(folder, before)) if done else ())


def _mended(folder: Path, clock: Clock) -> tuple[list[str], str]:
    """One pass over everything: a line for each thing that was done, and what in the database contradicts itself."""
    store = Store.maintain(folder, clock=clock)
    in_order = False  # a repair that is cut off leaves the comparison to the next start
    try:
        done = [store.recovered] if store.recovered else []
        done += [recovered.note for recovered in recovery.recover(store)]
        done += _begin_anew(store) + changes.reopen_fallen(store)
        found = _examined(folder)
        problem = _contradiction(found)
        for finding in found.findings:
            done += _mend(store, finding)
        for path in found.leftovers:
            files.remove(path)
            done.append(f"removed {path.relative_to(folder)}, which no row names")
        if done:
            with store.transaction():
                store.journal.add("repaired", done=done)
        if not problem:
            store.back_up()
        in_order = not problem
    finally:
        store.close(in_order=in_order)
    return done, problem


def _examined(folder: Path) -> Checked:
    reader = Reader(folder / DATABASE)
    try:
        return examine(folder, reader)
    finally:
        reader.close()


# -- the database against itself ---------------------------------------------------------------------------------


def _contradictions(found: Checked) -> list[Finding]:
    """What only an earlier state of the database can mend: histories, and rows of loops."""
    return [f for f in found.findings if f.kind == "history" or (f.kind == "rows" and not f.key)]


def _contradiction(found: Checked) -> str:
    return next((f"contradicts itself ({f.subject}: {f.problem})" for f in _contradictions(found)), "")


def _take_backup(folder: Path, clock: Clock, problem: str) -> str | None:
    """Put the backup in the place of a database that contradicts itself, unless the backup does so too."""
    copy = folder / backup.NAME
    if not copy.exists() or not is_whole(copy):
        return None
    reader = Reader(copy, immutable=True)
    try:
        if _contradictions(examine(folder, reader)):
            return None
    except DamagedError:
        return None
    finally:
        reader.close()
    lock = Lock(folder / "lock", now=clock.now())
    try:
        return backup.replace_by_backup(folder / DATABASE, problem=problem)
    finally:
        lock.release()


# -- what was lost -----------------------------------------------------------------------------------------------


def _progress_in(folder: Path, *states: str) -> dict[str, int] | None:
    """What was saved, by phase: units done, iterations of loops by snapshots of these states. None where the database
    does not say.
    """
    path = folder / DATABASE
    if not path.exists() or not is_whole(path):
        return None
    reader = Reader(path)
    try:
        if not format_of(reader):
            return None
        counted = reader.rows("SELECT phase, count(*) FROM units WHERE state = 'done' GROUP BY phase")
        reached = reader.rows(
            "SELECT loop, max(position) FROM snapshots WHERE state IN (?, ?) GROUP BY loop",
            (states[0], states[-1]),
        )
        return {str(name): int(number) for name, number in [*counted, *reached]}
    except DamagedError:
        return None
    finally:
        reader.close()


def _lost(folder: Path, before: dict[str, int] | None) -> Iterator[str]:
    now = _progress_in(folder, "kept")
    assert now is not None  # a repair leaves a database that can be read, or raises
    if before is None:
        reader = Reader(folder / DATABASE)
        try:
            at = reader.rows("SELECT coalesce(max(at), 0) FROM journal WHERE event != 'repaired'")[0][0]
        finally:
            reader.close()
        moment = datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")
        yield f"what was saved after {moment} and cannot be found in other files is computed again"
        return
    for name, number in before.items():
        if (left := now.get(name, 0)) < number:
            yield f"{name}: {number} were done, {left} are left; the next start computes the others again"


# -- mending one thing -------------------------------------------------------------------------------------------


def _begin_anew(store: Store) -> list[str]:
    """A loop that has no sound snapshot left begins anew; its damaged ones are kept aside, and backups as they are."""
    notes = []
    for loop in store.generations.loops():
        recorded = store.generations.of_loop(loop)
        damaged = [g for g in recorded if g.state == "damaged"]
        if not damaged or any(g.state == "kept" for g in recorded):
            continue
        with store.transaction():
            for generation in damaged:
                store.generations.mark(loop, generation.number, "removed")
            store.generations.rewind(loop, logged=0)
            store.tables.rewind(loop, inserted=0)
        notes.append(f"{loop}: no snapshot is left; it begins anew")
    return notes


def _mend(store: Store, finding: Finding) -> list[str]:
    match finding.kind:
        case "unit" | "blob" | "rows" if store.units.one(finding.subject, finding.key) is not None:
            return [_redo(store, finding)]
        case "rows" if finding.key:
            return [_lose(store, finding)]
        case "snapshot":
            return [_drop_older(store, finding)]
        case "export":
            return [_export_again(store, finding.subject)]
        case "backup":
            return ["run.db.backup was unreadable and is written anew"]
        case _:
            return []


def _redo(store: Store, finding: Finding) -> str:
    """The next start computes the unit again, and compares it with the digest of the first time."""
    path = store.folder / finding.file
    if finding.file and path.exists():
        files.set_aside(path)
    with store.transaction():
        store.units.expect_again(finding.subject, finding.key)
        store.units.set_phase(finding.subject, state="running")
    name = f"{finding.subject} {finding.key}".strip()
    return f"{name}: {finding.problem}; it is computed again"


def _lose(store: Store, finding: Finding) -> str:
    """Rows of an earlier life of the run: without their digest the next start does not take them for done."""
    with store.transaction():
        store.database.execute(
            "DELETE FROM user_rows WHERE phase = ? AND key = ?", (finding.subject, finding.key)
        )
    return f"{finding.subject} {finding.key}: {finding.problem}; they are computed again"


def _drop_older(store: Store, finding: Finding) -> str:
    """A damaged generation behind the newest sound one: nothing depends on it but the wish to fall back."""
    path = path_of(store.folder, finding.subject, finding.number)
    kept = f", kept as {files.set_aside(path).name}" if path.exists() else ""
    with store.transaction():
        store.generations.mark(finding.subject, finding.number, "damaged")
    return f"{finding.subject}: generation {finding.number} is damaged{kept}; a newer one is whole"


def _export_again(store: Store, loop: str) -> str:
    newest = store.generations.kept(loop)[-1]
    source = path_of(store.folder, loop, newest.number)
    arrays, text = codec.read(source)
    best = {n.removeprefix("best/"): array for n, array in arrays.items() if n.startswith("best/")}
    documents = commit.header_of(text, arrays, path=source).best
    header = codec.header(codec.plan(best), canonical({"loop": loop, "documents": documents}))
    pieces = [bytes_of(best[tensor.name]) for tensor in codec.plan(best)]
    files.publish(export_path(store.folder, loop), [header, *pieces], kind="export")
    return f"{loop}: the best state was exported again from generation {newest.number}"
