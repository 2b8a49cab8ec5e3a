"""At the start of an attempt: decide for every loop which generation counts, and remove what does not."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from perdure import files
from perdure.errors import DamagedError
from perdure.snapshot import codec, commit
from perdure.snapshot.commit import Header, Staged
from perdure.store import Store
from perdure.store.generations import UNSEALED, Generation

_FILE = re.compile(r"\d{8}\.safetensors")
_BEST = "best/"


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
        while _finish_interrupted(store, loop):
            pass  # when `run.db.backup` stands in, several generations may be waiting
        notes += _skip_damaged(store, loop)
        _rewind(store, loop)
    _remove_strays(store)
    return notes


def _finish_interrupted(store: Store, loop: str) -> bool:
    """A file that is whole, but whose process died before its row was committed: commit it now."""
    recorded = store.generations.of_loop(loop)
    number = max((g.number for g in recorded), default=0) + 1
    path = commit.path_of(store.folder, loop, number)
    if not path.exists():
        return False
    try:
        header, arrays = _open(path)
    except DamagedError:
        return False  # never counted, so nothing is lost: it is removed with the other strays
    if header.loop != loop or header.number != number or _differs(header, arrays):
        return False
    kept = [g for g in recorded if g.state == "kept"]
    if header.follows != commit.lineage(store, kept[-1] if kept else None):
        return False  # of another run, or of another time in this one
    files.sync_folder(path.parent)
    with store.transaction():
        store.generations.commit(
            Generation(loop, number, header.cursor, header.final, path.stat().st_size, files.digest(path),
                       header.parts, header.logged, header.inserted, "kept"),
            stall_seconds=0.0,
        )  # fmt: skip
        store.generations.log(loop, header.history)
        commit.add_rows(store, loop, header.rows)
        store.journal.add("snapshot finished", loop, generation=number)
    return True


def _open(path: Path) -> tuple[Header, dict[str, np.ndarray]]:
    arrays, document = codec.read(path)
    return commit.header_of(document, arrays, path=path), arrays


def _differs(header: Header, arrays: dict[str, np.ndarray]) -> bool:
    """Whether any part's bytes do not match the digest in the header."""
    best = {name[len(_BEST) :]: array for name, array in arrays.items() if name.startswith(_BEST)}
    own = {name: a for name, a in arrays.items() if name != commit.DIGESTS and not name.startswith(_BEST)}
    digests = _staged(header.documents, own).digests()
    if header.best is not None:
        digests["best"] = _staged(header.best, best).digest()
    return any(header.parts.get(name) != digest for name, digest in digests.items())


def _staged(documents: dict[str, str], arrays: dict[str, np.ndarray]) -> Staged:
    layout = codec.plan(arrays)
    content = np.empty(sum(t.size for t in layout), np.uint8)
    for tensor in layout:
        content[tensor.start : tensor.start + tensor.size] = arrays[tensor.name].reshape(-1).view(np.uint8)
    return Staged(documents, layout, memoryview(content))  # type: ignore[arg-type]


def _skip_damaged(store: Store, loop: str) -> list[Recovered]:
    notes: list[Recovered] = []
    for generation in reversed(store.generations.kept(loop)):
        path = commit.path_of(store.folder, loop, generation.number)
        if path.exists():
            files.sync_folder(path.parent)
        if path.exists() and is_whole(path, generation):
            notes += _correct(store, path, generation)
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


def is_whole(path: Path, generation: Generation) -> bool:
    """Whether a snapshot's file holds what its row says. Raises StorageError where it cannot be read."""
    if generation.sha256 != UNSEALED:
        return files.digest(path) == generation.sha256
    try:
        header, arrays = _open(path)
    except DamagedError:
        return False
    return header.parts == generation.parts and not _differs(header, arrays)


def _correct(store: Store, path: Path, generation: Generation) -> list[Recovered]:
    """The file has the bytes that its row tells; where the row tells something else about them, the file is right."""
    header, _ = _open(path)
    right = replace(
        generation, cursor=header.cursor, final=header.final, logged=header.logged, inserted=header.inserted,
        parts=header.parts,
    )  # fmt: skip
    if generation.sha256 == UNSEALED:  # the attempt died before it had recorded it
        with store.transaction():
            store.generations.seal(generation.loop, generation.number, files.digest(path))
    if right == generation:
        return []
    with store.transaction():
        store.generations.correct(right)
        store.journal.add("snapshot row corrected", generation.loop, generation=generation.number)
    return [Recovered(generation.loop, f"the row of generation {generation.number} of {generation.loop!r} was damaged; "
                                       "it was restored from the file")]  # fmt: skip


def _rewind(store: Store, loop: str) -> None:
    """History and rows that came after the generation that counts are not part of the run."""
    recorded = store.generations.of_loop(loop)
    kept = [g for g in recorded if g.state == "kept"]
    newest = kept[-1] if kept else None
    if newest is None and any(g.state == "damaged" for g in recorded):
        return  # the loop stops with an error: what is left of it stays for a repair
    with store.transaction():
        store.generations.rewind(loop, logged=newest.logged if newest else 0)
        store.tables.rewind(loop, inserted=newest.inserted if newest else 0)


def _remove_strays(store: Store) -> None:
    """Files without a row: half-written ones, and snapshots that retention had already let go of."""
    kept = {
        commit.path_of(store.folder, loop, g.number)
        for loop in store.generations.loops()
        for g in store.generations.kept(loop)
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


def files_of(store: Store, phase: str) -> list[Path]:
    """The snapshot files of a phase and of all loops inside it."""
    return [
        commit.path_of(store.folder, loop, generation.number)
        for loop in store.generations.loops()
        if loop == phase or loop.startswith(phase + "/")
        for generation in store.generations.of_loop(loop)
    ]
