"""Verify a run, and mend it: the database from its backup, loops from earlier snapshots, results by new work.

Nothing is thrown away that could be read: damaged files are set aside under `<name>.damaged-N`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import blake3
import numpy as np

from perdure import files
from perdure.clock import Clock
from perdure.errors import DamagedError, PerdureError
from perdure.results import blobs_of
from perdure.snapshot import codec, commit, recovery
from perdure.snapshot.parts import canonical
from perdure.store import DATABASE, Store
from perdure.store.check import Checked, Finding, check
from perdure.store.database import Reader
from perdure.store.generations import path_of


def examine(folder: Path, reader: Reader) -> Checked:
    """All that `check` compares, and the exported best states against the snapshots that hold them."""
    checked = check(folder, reader, blobs_of=blobs_of)
    exports = list(_exports(folder, reader))
    wrong = [finding for finding in exports if finding is not None]
    counts = checked.counts | {"export": len(exports)}
    return Checked((*checked.findings, *wrong), checked.leftovers, counts)


def _exports(folder: Path, reader: Reader) -> Iterator[Finding | None]:
    for loop, digest, _ in _best(reader):
        path = _export_path(folder, loop)
        try:
            found = _digest_of_best(path) if path.exists() else ""
        except PerdureError:
            found = "unreadable"
        if found == digest:
            yield None
        else:
            state = "is not the best state of its newest snapshot" if found else "is missing"
            yield Finding("export", loop, f"exports/{path.name} {state}")


def _best(reader: Reader) -> Iterator[tuple[str, str, int]]:
    """Loop, digest of its best state, and the newest generation, which holds it."""
    rows = reader.rows(
        "SELECT loop, max(generation) AS number, json_extract(parts, '$.best') AS best FROM snapshots "
        "WHERE state = 'kept' GROUP BY loop"
    )
    return ((row["loop"], row["best"], row["number"]) for row in rows if row["best"] is not None)


def _export_path(folder: Path, loop: str) -> Path:
    return folder / "exports" / f"{files.name_for(loop)}.best.safetensors"


def _digest_of_best(path: Path) -> str:
    """The digest that a snapshot records for its best state, of an exported one."""
    arrays, document = codec.read(path)
    try:
        documents: dict[str, Any] = json.loads(document)["documents"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} has an unreadable header ({error})") from error
    hasher = blake3.blake3(canonical(documents).encode())
    hasher.update(canonical([[name, a.dtype.name, list(a.shape)] for name, a in arrays.items()]).encode())
    for array in arrays.values():
        hasher.update(_bytes(array))
    return str(hasher.hexdigest())


def _bytes(array: np.ndarray) -> memoryview:
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def repair(folder: Path, *, clock: Clock) -> list[str]:
    """Mend what can be mended; returns a line for each thing that was done.

    Raises LockedError while a process holds the run, DamagedError when neither the database nor its backup can be
    read, FormatError for a run of a newer perdure.
    """
    store = Store.maintain(folder, clock=clock)
    try:
        done = [store.recovered] if store.recovered else []
        done += [recovered.note for recovered in recovery.recover(store)]
        _reopen_loops(store)
        reader = Reader(folder / DATABASE)
        try:
            found = examine(folder, reader)
        finally:
            reader.close()
        for finding in found.findings:
            done += _mend(store, finding)
        for path in found.leftovers:
            files.remove(path)
            done.append(f"removed {path.relative_to(folder)}, which no row names")
        if done:
            with store.transaction():
                store.journal.add("repaired", done=done)
        store.back_up()
    finally:
        store.close()
    return done


def _reopen_loops(store: Store) -> None:
    """A loop that fell back behind its final snapshot goes on at the next start: it is not complete.

    One inside a unit that is done stays as it is, for nothing will enter it again.
    """
    for phase in store.units.phases():
        kept = [g for g in store.generations.of_loop(phase.path) if g.state == "kept"]
        fell_back = phase.kind == "range" and phase.state == "completed" and not (kept and kept[-1].final)
        if fell_back and "/" not in phase.path:
            with store.transaction():
                store.units.set_phase(phase.path, state="running")


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
    return f"{name}: {finding.problem}; the next start computes it again"


def _lose(store: Store, finding: Finding) -> str:
    """Rows of an earlier life of the run: without their digest the next start does not take them for done."""
    with store.transaction():
        store.database.execute(
            "DELETE FROM user_rows WHERE phase = ? AND key = ?", (finding.subject, finding.key)
        )
    return f"{finding.subject} {finding.key}: {finding.problem}; the next start computes them again"


def _drop_older(store: Store, finding: Finding) -> str:
    """A damaged generation behind the newest sound one: nothing depends on it but the wish to fall back."""
    path = path_of(store.folder, finding.subject, finding.number)
    kept = f", kept as {files.set_aside(path).name}" if path.exists() else ""
    with store.transaction():
        store.generations.mark(finding.subject, finding.number, "damaged")
    return f"{finding.subject}: generation {finding.number} is damaged{kept}; a newer one is whole"


def _export_again(store: Store, loop: str) -> str:
    newest = [g for g in store.generations.of_loop(loop) if g.state == "kept"][-1]
    source = path_of(store.folder, loop, newest.number)
    arrays, text = codec.read(source)
    best = {n.removeprefix("best/"): array for n, array in arrays.items() if n.startswith("best/")}
    documents = commit.header_of(text, arrays, path=source).best
    header = codec.header(codec.plan(best), canonical({"loop": loop, "documents": documents}))
    pieces = [_bytes(best[tensor.name]) for tensor in codec.plan(best)]
    files.publish(_export_path(store.folder, loop), [header, *pieces], kind="export")
    return f"{loop}: the best state was exported again from generation {newest.number}"
