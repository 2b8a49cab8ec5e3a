"""At the start of an attempt: decide for every loop which generation counts, and remove what does not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from perdure import files
from perdure.errors import DamagedError
from perdure.snapshot import codec, commit
from perdure.snapshot.commit import Header, Staged
from perdure.store import Store
from perdure.store.generations import Generation

_FILE = re.compile(r"\d{8}\.safetensors")


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was done to a loop, told to the user."""

    loop: str
    note: str


def recover(store: Store) -> list[Recovered]:
    """Bring every loop to its newest sound generation; must run before anything is resumed."""
    notes: list[Recovered] = []
    loops = {*store.generations.loops(), *(p.path for p in store.units.phases() if p.kind == "range")}
    for loop in sorted(loops):
        notes += _finish_interrupted(store, loop)
        notes += _skip_damaged(store, loop)
        _rewind(store, loop)
    _remove_strays(store)
    return notes


def _finish_interrupted(store: Store, loop: str) -> list[Recovered]:
    """A file that is whole, but whose process died before its row was committed: commit it now."""
    recorded = store.generations.of_loop(loop)
    number = max((g.number for g in recorded), default=0) + 1
    path = commit.path_of(store.folder, loop, number)
    if not path.exists():
        return []
    try:
        header, staged = _open(path)
    except DamagedError:
        return []  # never counted, so nothing is lost: it is removed with the other strays
    if header.loop != loop or header.number != number or _differs(header, staged):
        return []
    if header.logged - len(header.history) != (recorded[-1].logged if recorded else 0):
        return []  # it does not follow the newest recorded generation
    files.sync_folder(path.parent)
    with store.transaction():
        store.generations.commit(
            Generation(loop, number, header.cursor, header.final, path.stat().st_size, files.digest(path),
                       header.parts, header.logged, header.inserted, "kept"),
            stall_seconds=0.0,
        )  # fmt: skip
        store.generations.log(loop, header.history)
        for rows in header.rows:
            store.tables.append(rows.table, rows.rows, phase=loop, position=rows.position, first=rows.first)
        store.journal.add("snapshot finished", loop, generation=number)
    return []


def _open(path: Path) -> tuple[Header, dict[str, np.ndarray]]:
    arrays, document = codec.read(path)
    return commit.header_of(document, path=path), arrays


def _differs(header: Header, arrays: dict[str, np.ndarray]) -> bool:
    """Whether any part's bytes do not match the digest in the header."""
    own = {name: array for name, array in arrays.items() if not name.startswith("best/")}
    layout = codec.plan(own)
    content = np.empty(sum(t.size for t in layout), np.uint8)
    for tensor in layout:
        content[tensor.start : tensor.start + tensor.size] = own[tensor.name].reshape(-1).view(np.uint8)
    digests = Staged(header.documents, layout, memoryview(content)).digests()  # type: ignore[arg-type]
    return any(header.parts.get(name) != digest for name, digest in digests.items())


def _skip_damaged(store: Store, loop: str) -> list[Recovered]:
    notes: list[Recovered] = []
    for generation in reversed([g for g in store.generations.of_loop(loop) if g.state == "kept"]):
        path = commit.path_of(store.folder, loop, generation.number)
        if path.exists():
            files.sync_folder(path.parent)
        if path.exists() and files.digest(path) == generation.sha256:
            break
        kept = f"kept as {files.set_aside(path).name}" if path.exists() else "and the file is gone"
        with store.transaction():
            store.generations.mark(loop, generation.number, "damaged")
            store.journal.add("snapshot damaged", loop, generation=generation.number)
        notes.append(
            Recovered(loop, f"generation {generation.number} of {loop!r} does not match its digest ({kept}); "
                            "falling back to the one before")
        )  # fmt: skip
    return notes


def _rewind(store: Store, loop: str) -> None:
    """History and rows that came after the generation that counts are not part of the run."""
    kept = [g for g in store.generations.of_loop(loop) if g.state == "kept"]
    newest = kept[-1] if kept else None
    with store.transaction():
        store.generations.rewind(loop, logged=newest.logged if newest else 0)
        store.tables.rewind(loop, inserted=newest.inserted if newest else 0)


def _remove_strays(store: Store) -> None:
    """Files without a row: half-written ones, and snapshots that retention had already let go of."""
    kept = {
        commit.path_of(store.folder, loop, g.number)
        for loop in store.generations.loops()
        for g in store.generations.of_loop(loop)
        if g.state == "kept"
    }
    for path in (store.folder / "snapshots").rglob("*"):
        if (
            path.is_file()
            and path not in kept
            and (_FILE.fullmatch(path.name) or path.name.endswith(files.TEMPORARY))
        ):
            files.remove(path)
    for folder in (store.folder, store.folder / "blobs", store.folder / "exports", store.folder / "cache"):
        for path in folder.glob(f".*{files.TEMPORARY}*"):
            files.remove(path)


def discard(store: Store, phase: str) -> None:
    """Remove the snapshot files of a phase and of all loops inside it. Their rows must be forgotten next."""
    for loop in store.generations.loops():
        if loop == phase or loop.startswith(phase + "/"):
            for generation in store.generations.of_loop(loop):
                files.remove(commit.path_of(store.folder, loop, generation.number))
