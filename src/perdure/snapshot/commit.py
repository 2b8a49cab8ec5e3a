"""From a capture in memory to a committed generation. Runs on the writer's thread.

Order: temp file, write, sync, rename, sync of the folder, then one transaction with the snapshot's row, the history
and the user's rows of that position. Only then does it count. The file's SHA-256, for which nobody waits, is added in
a transaction of its own; until then the digests of the parts say whether the file is whole.

The file's header repeats what that transaction records, so that a generation whose process died between the rename
and the transaction is finished on the next start instead of being computed again. It holds no time, host or attempt:
equal states give equal files.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blake3
import numpy as np

from perdure import files
from perdure.errors import DamagedError, FormatError
from perdure.snapshot import codec
from perdure.snapshot.codec import Tensor
from perdure.snapshot.parts import canonical
from perdure.store import Store
from perdure.store.generations import UNSEALED, Cursor, Entry, Generation
from perdure.store.generations import path_of as path_of
from perdure.store.tables import Rows

FORMAT = 1  # of the snapshot file
DIGESTS = (
    "digests"  # the last tensor: JSON of the parts' digests, which are known only when all else is written
)


@dataclass(frozen=True, slots=True)
class Staged:
    """Parts whose arrays lie in one buffer: documents by part, the layout, and the bytes."""

    documents: dict[str, str]
    layout: tuple[Tensor, ...]
    content: memoryview

    def digest(self) -> str:
        """One digest of everything."""
        hasher = blake3.blake3(canonical(self.documents).encode())
        hasher.update(canonical([[t.name, t.dtype, t.shape] for t in self.layout]).encode())
        hasher.update(self.content)
        return hasher.hexdigest()

    def digests(self) -> dict[str, str]:
        """A digest of each part: its document, and its tensors' names, types, shapes and bytes."""
        digests: dict[str, str] = {}
        for _ in self.pieces(digests):
            pass
        return digests

    def pieces(self, digests: dict[str, str]) -> Iterator[memoryview]:
        """The content, some megabytes at a time; after the last, `digests` holds a digest of each part.

        A piece is digested when the next one is asked for: it is then still in the processor's cache, and the disk
        works on it meanwhile.
        """
        hashers = {name: blake3.blake3(document.encode()) for name, document in self.documents.items()}
        tensors = deque(self.layout)
        for start in range(0, max(1, len(self.content)), files.CHUNK):
            stop = min(start + files.CHUNK, len(self.content))
            yield self.content[start:stop]
            while tensors and (tensors[0].start < stop or stop == len(self.content)):
                tensor = tensors[0]
                hasher, end = hashers[tensor.name.partition("/")[0]], tensor.start + tensor.size
                if tensor.start >= start:
                    hasher.update(canonical([tensor.name, tensor.dtype, tensor.shape]).encode())
                hasher.update(self.content[max(start, tensor.start) : min(stop, end)])
                if end > stop:
                    break
                tensors.popleft()
        digests.update((name, hasher.hexdigest()) for name, hasher in hashers.items())


@dataclass(frozen=True, slots=True)
class LoopRows:
    """Rows that a loop's body added to a user table."""

    table: str
    rows: Rows
    position: int
    first: int  # number of the first of them among all rows of the loop

    def as_document(self) -> list[object]:
        values = [
            [{"hex": cell.hex()} if isinstance(cell, bytes) else cell for cell in r] for r in self.rows.values
        ]
        return [self.table, self.rows.columns, self.rows.types, values, self.position, self.first]

    @classmethod
    def of(cls, document: list[Any]) -> LoopRows:
        table, columns, types, values, position, first = document
        rows = [tuple(bytes.fromhex(c["hex"]) if isinstance(c, dict) else c for c in row) for row in values]
        return cls(table, Rows(tuple(columns), tuple(types), rows), position, first)


@dataclass(frozen=True, slots=True)
class Capture:
    """A loop's state at one cursor, captured and ready to be written."""

    loop: str
    number: int
    cursor: Cursor
    final: bool
    fingerprint: str
    follows: str  # the lineage: see `lineage`
    staged: Staged
    best: Staged | None
    best_digest: str
    history: tuple[Entry, ...]  # since the generation before
    logged: int  # entries in all
    history_digest: str  # of all entries
    rows: tuple[LoopRows, ...]  # since the generation before
    inserted: int  # rows in all
    stall_seconds: float

    def parts(self, own: dict[str, str]) -> dict[str, str]:
        """The digest of each part, given those of the staged ones: differences can be named without the file."""
        parts = own | {"history": self.history_digest}
        return parts if self.best is None else parts | {"best": self.best_digest}

    def size_of_digests(self) -> int:
        """Bytes of the tensor of digests, known before the digests are."""
        blank = blake3.blake3().hexdigest()
        return len(canonical(self.parts(dict.fromkeys(self.staged.documents, blank))))


def lineage(store: Store, before: Generation | None) -> str:
    """What a snapshot follows: the parts of the generation before, or the run's settings for a first one."""
    known = store.meta("settings") if before is None else before.parts
    return blake3.blake3(canonical(known).encode()).hexdigest()


def history_digest(before: str, entries: Iterable[Entry]) -> str:
    """The digest of a history, from that of its beginning and the entries since."""
    for entry in entries:
        before = blake3.blake3((before + canonical(entry.as_document())).encode()).hexdigest()
    return before


def write(folder: Path, capture: Capture, check: Callable[[dict[str, str]], None]) -> Generation:
    """Publish the file; returns the generation that `record` commits.

    `check` sees the digests of the parts before the file has its name, and may refuse them by raising.
    """
    path = path_of(folder, capture.loop, capture.number)
    files.make_folder(path.parent)
    parts: dict[str, str] = {}

    def content() -> Iterator[files.Content]:
        own: dict[str, str] = {}
        yield _header(capture)
        yield from capture.staged.pieces(own)
        if capture.best is not None:
            yield capture.best.content
        parts.update(capture.parts(own))
        check(parts)
        yield _digests(parts)

    size = files.publish(path, content(), kind="snapshot")
    return Generation(
        capture.loop, capture.number, capture.cursor, capture.final, size, UNSEALED, parts, capture.logged,
        capture.inserted, "kept",
    )  # fmt: skip


def _header(capture: Capture) -> bytes:
    """The file's beginning: where each tensor lies, and the document."""
    layout, end = list(capture.staged.layout), len(capture.staged.content)
    if capture.best is not None:
        layout += [
            Tensor(f"best/{t.name}", t.dtype, t.shape, t.start + end, t.size) for t in capture.best.layout
        ]
        end += len(capture.best.content)
    size = capture.size_of_digests()
    layout.append(Tensor(DIGESTS, "uint8", (size,), end, size))
    return codec.header(layout, _document(capture))


def _digests(parts: dict[str, str]) -> bytes:
    """The file's last tensor."""
    return canonical(parts).encode()


def _document(capture: Capture) -> str:
    cursor = capture.cursor
    return canonical(
        {
            "format": FORMAT,
            "loop": capture.loop,
            "generation": capture.number,
            "cursor": [cursor.position, cursor.stream, cursor.batch],
            "final": capture.final,
            "fingerprint": capture.fingerprint,
            "follows": capture.follows,
            "documents": capture.staged.documents,
            "best": capture.best.documents if capture.best is not None else None,
            "logged": capture.logged,
            "history": [entry.as_document() for entry in capture.history],
            "rows": [rows.as_document() for rows in capture.rows],
            "inserted": capture.inserted,
        }
    )


def record(store: Store, generation: Generation, capture: Capture, *, retired: list[int]) -> None:
    """Commit: from here on the snapshot counts. `retired` generations stop counting in the same transaction."""
    with store.transaction():
        store.generations.commit(generation, stall_seconds=capture.stall_seconds)
        store.generations.rewind(
            capture.loop, logged=capture.logged - len(capture.history)
        )  # provisional ones
        store.generations.log(capture.loop, capture.history)
        add_rows(store, capture.loop, capture.rows)
        for number in retired:
            store.generations.mark(capture.loop, number, "removed")
        if capture.final:
            store.journal.add("loop completed", capture.loop, generation=generation.number)


def add_rows(store: Store, loop: str, added: Sequence[LoopRows]) -> None:
    """Put rows that a loop's body added into their tables, with a digest for each table."""
    for rows in added:
        store.tables.append(rows.table, rows.rows, phase=loop, position=rows.position, first=rows.first)
    for table in dict.fromkeys(rows.table for rows in added):
        own = [rows for rows in added if rows.table == table and rows.rows.values]
        if own:
            count = sum(len(rows.rows.values) for rows in own)
            store.tables.record(table, phase=loop, position=own[0].position, first=own[0].first, count=count)


def seal(store: Store, generation: Generation, capture: Capture) -> None:
    """Record the SHA-256 of the file: of the bytes in memory, so that damage on the way to the disk shows."""
    hasher = hashlib.sha256(_header(capture))
    hasher.update(capture.staged.content)
    if capture.best is not None:
        hasher.update(capture.best.content)
    hasher.update(_digests(generation.parts))
    with store.transaction():
        store.generations.seal(generation.loop, generation.number, hasher.hexdigest())


@dataclass(frozen=True, slots=True)
class Header:
    """What a snapshot's file says about itself."""

    loop: str
    number: int
    cursor: Cursor
    final: bool
    fingerprint: str
    follows: str
    parts: dict[str, str]
    documents: dict[str, str]
    best: dict[str, str] | None
    logged: int
    history: tuple[Entry, ...]
    rows: tuple[LoopRows, ...]
    inserted: int


def header_of(text: str, arrays: Mapping[str, np.ndarray], *, path: Path) -> Header:
    """Parse a file's document and its tensor of digests.

    Raises FormatError for a newer format and DamagedError for rubbish.
    """
    try:
        document = json.loads(text)
        if document["format"] > FORMAT:
            raise FormatError(
                f"{path} has snapshot format {document['format']}, and this perdure reads up to {FORMAT}; "
                "install a newer perdure (nothing was touched)"
            )
        return Header(
            document["loop"], document["generation"], Cursor(*document["cursor"]), document["final"],
            document["fingerprint"], document["follows"], json.loads(bytes(arrays[DIGESTS])), document["documents"],
            document["best"],
            document["logged"], tuple(Entry(*entry) for entry in document["history"]),
            tuple(LoopRows.of(rows) for rows in document["rows"]), document["inserted"],
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} has an unreadable header ({type(error).__name__}: {error})") from error
