"""What a disk may hold after a power cut, replayed from a recording. A model of what POSIX and ext4 allow:

- Bytes are safe once their file was synced after they were written. Until then each sector of 512 bytes may have
  arrived or not, in any order; the file may have its new length with zeros in it, or its old length.
- A name (made, renamed, removed) is safe once its folder was synced. Until then it may have arrived or not: of the
  unsafe ones a journalling file system keeps a beginning, POSIX any.
- What was synced is there. A drive that lies about that is beyond any program.
"""

from __future__ import annotations

import hashlib
import itertools
import posixpath
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from sweeps.ledger import Sweep
from sweeps.recording import Operation
from sweeps.subject import Facts, Subject

SECTOR = 512  # bytes: the smallest piece that a disk writes as a whole
KINDS = 12  # of states after a cut at one moment: those of `Disk.cut`


@dataclass(frozen=True, slots=True)
class State:
    """A folder as it may be found after the cut."""

    files: dict[str, bytes]
    folders: frozenset[str]

    def digest(self) -> str:
        hasher = hashlib.sha256(repr(sorted(self.folders)).encode())
        for name, content in sorted(self.files.items()):
            hasher.update(f"{name}\0{len(content)}\0".encode() + content)
        return hasher.hexdigest()

    def put(self, folder: Path) -> None:
        """Make it a real folder."""
        for name in sorted(self.folders):
            (folder / name).mkdir(mode=0o700)
        for name, content in self.files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)


@dataclass(slots=True)
class Inode:
    """One file's bytes: what is safe, and what has been done since its last sync."""

    safe: bytes = b""
    since: list[Operation] = field(default_factory=list)

    def content(self, keeps: Callable[[], bool] = lambda: True, *, last: int | None = None) -> bytes:
        """The safe bytes with each later sector that `keeps` keeps; `last`: bytes that arrived of the last write."""
        found = bytearray(self.safe)
        for operation in self.since:
            if operation.kind == "cut":
                if keeps():
                    del found[operation.offset :]
                    found.extend(bytes(operation.offset - len(found)))
                continue
            data = (
                operation.data[:last] if last is not None and operation is self.since[-1] else operation.data
            )
            for start, piece in _sectors(operation.offset, data):
                if keeps():
                    found.extend(bytes(max(0, start + len(piece) - len(found))))
                    found[start : start + len(piece)] = piece
        return bytes(found)

    def hollow(self) -> bytes:
        """Its new length arrived and none of the bytes that make it up."""
        length = len(self.content())
        return self.safe[:length].ljust(length, b"\0")


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    end = offset + len(data)
    while offset < end:
        size = min(SECTOR - offset % SECTOR, end - offset)
        yield offset, data[len(data) - (end - offset) :][:size]
        offset += size


@dataclass(frozen=True, slots=True)
class Naming:
    """A change of names that is not safe yet."""

    operation: Operation
    inode: Inode | None

    def folders(self) -> set[str]:
        names = {self.operation.path, self.operation.target} - {""}
        return {posixpath.dirname(name) or "." for name in names}


@dataclass(slots=True)
class Disk:
    """The files of a run while it works, and what of them is safe."""

    names: dict[str, Inode] = field(default_factory=dict)  # as the processes see them
    safe_names: dict[str, Inode] = field(default_factory=dict)
    safe_folders: set[str] = field(default_factory=set)
    pending: list[Naming] = field(default_factory=list)

    def do(self, operation: Operation) -> None:
        match operation.kind:
            case "write" | "cut":
                self.names[operation.path].since.append(operation)
            case "sync":
                self._sync(operation.path)
            case "create":
                self._name(operation, Inode())
            case "rename":
                self._name(operation, self.names[operation.path])
            case "unlink" | "folder":
                self._name(operation, None)

    def _name(self, operation: Operation, inode: Inode | None) -> None:
        naming = Naming(operation, inode)
        _rename(naming, self.names, set())
        self.pending.append(naming)

    def _sync(self, path: str) -> None:
        if path in self.names:
            inode = self.names[path]
            inode.safe, inode.since = inode.content(), []
            return
        for naming in [n for n in self.pending if path in n.folders()]:
            self.pending.remove(naming)
            _rename(naming, self.safe_names, self.safe_folders)

    def _state(self, kept: Sequence[Naming], content: Callable[[Inode], bytes]) -> State:
        names, folders = dict(self.safe_names), set(self.safe_folders)
        for naming in kept:
            _rename(naming, names, folders)
        reached = {f for f in folders if all(str(p) in folders | {"."} for p in PurePosixPath(f).parents)} | {
            "."
        }
        files = {n: content(i) for n, i in names.items() if (posixpath.dirname(n) or ".") in reached}
        return State(files, frozenset(reached))

    def arrived(self) -> State:
        """Everything arrived: what a killed process leaves."""
        return self._state(self.pending, Inode.content)

    def cut(self, seed: int) -> Iterator[tuple[str, State]]:
        """States after a power cut now, each with a word for it."""
        chance = random.Random(seed)
        last = next((i for i in reversed(self.names.values()) if i.since), None)
        yield "all arrived", self.arrived()
        yield "all lost", self._state([], lambda inode: inode.safe)
        yield "names without bytes", self._state(self.pending, Inode.hollow)
        yield "renamed, not written", self._state(self.pending, lambda inode: inode.safe)
        yield "bytes without names", self._state([], Inode.content)
        for size in (SECTOR, 3 * SECTOR, 4096):
            yield (
                f"torn after {size}",
                self._state(
                    self.pending, lambda inode, size=size: inode.content(last=size if inode is last else None)
                ),
            )
        for number in range(2):
            beginning = self.pending[: chance.randint(0, len(self.pending))]
            any_of = [naming for naming in self.pending if chance.random() < 0.5]
            for kind, kept in (("a beginning", beginning), ("any", any_of)):
                yield (
                    f"{kind} of the names, any sectors ({number})",
                    self._state(kept, lambda inode: inode.content(lambda: chance.random() < 0.5)),
                )


def _rename(naming: Naming, names: dict[str, Inode], folders: set[str]) -> None:
    operation = naming.operation
    if operation.kind == "folder":
        folders.add(operation.path)
        return
    names.pop(operation.path, None)
    folders.discard(operation.path)
    if naming.inode is not None:
        names[operation.target or operation.path] = naming.inode


@dataclass(frozen=True, slots=True)
class Cut:
    """A state after a power cut, and what had been acknowledged before it."""

    label: str
    state: State
    acknowledged: Facts


def cuts(operations: Sequence[Operation]) -> Iterator[Cut]:
    """All states that differ, over every moment of the recording."""
    seen: set[str] = set()
    for number, disk, acknowledged in _moments(operations):
        if operations[number].kind == "acknowledge":
            seen.clear()  # the same files with more acknowledged is another claim
        for label, state in disk.cut(number):
            digest = state.digest()
            if digest not in seen:
                seen.add(digest)
                yield Cut(_label(number, operations[number], label), state, acknowledged)


def cuts_at(operations: Sequence[Operation], moments: Sequence[int]) -> Iterator[Cut]:
    """One state after each of these operations, of another kind in turn: of a large run, all would fill the memory."""
    turns = dict(zip(moments, itertools.cycle((1, 6, 8, 3, 11, 2, 9, 4, 7, 10, 5, 0)), strict=False))
    for number, disk, acknowledged in _moments(operations):
        if number in turns:
            label, state = next(itertools.islice(disk.cut(number), turns[number], None))
            yield Cut(_label(number, operations[number], label), state, acknowledged)


def _moments(operations: Sequence[Operation]) -> Iterator[tuple[int, Disk, Facts]]:
    """The disk after each operation, and what had been acknowledged by then."""
    disk, acknowledged = Disk(), frozenset()
    for number, operation in enumerate(operations):
        if operation.kind == "acknowledge":
            acknowledged = operation.facts
        disk.do(operation)
        yield number, disk, acknowledged


def _label(number: int, operation: Operation, label: str) -> str:
    return f"after #{number} {operation.kind} {operation.path}: {label}"


def resumed(subject: Subject, sweep: Sweep, some: Iterable[Cut]) -> None:
    """Each state goes on to the same bits, and nothing acknowledged is lost or done again."""
    for cut in some:
        folder = subject.scratch / "run"
        cut.state.put(folder)
        sweep.add(cut.label, "resumed", subject.resumed(folder, cut.acknowledged))
        shutil.rmtree(folder)
