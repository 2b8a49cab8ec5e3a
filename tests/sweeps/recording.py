"""All that a run did to its files, in order, with the bytes: what a power cut can be replayed from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sweeps.calls import Acknowledged
from sweeps.subject import Facts, Subject
from sweeps.tracer import Answer, Call

SHARED_MEMORY = (
    "-shm"  # SQLite's index of its log: written through memory, and made anew by the first who opens it
)


@dataclass(frozen=True, slots=True)
class Operation:
    """One change to the files of a run. Paths are relative to its folder."""

    kind: str  # 'create', 'folder', 'write', 'cut', 'sync', 'rename', 'unlink' or 'acknowledge'
    path: str
    target: str = ""
    offset: int = 0  # of a write; the new size of a cut
    data: bytes = b""
    facts: Facts = frozenset()  # of an acknowledgement


class Recorder(Acknowledged):
    """A visitor that notes what happens to the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.operations: list[Operation] = []

    def __call__(self, call: Call) -> Answer:
        before = self.facts
        answer = super().__call__(call)
        if self.facts is not before:
            self.operations.append(Operation("acknowledge", "", facts=self.facts))
        return answer

    def answer(self, call: Call) -> Answer:
        if not call.path.name.endswith((SHARED_MEMORY, " (deleted)")):
            self.operations += self._operations(call)
        return None

    def _operations(self, call: Call) -> Iterator[Operation]:
        path = self._name(call.path)
        match call.name:
            case "write" | "pwrite64":
                yield Operation("write", path, offset=call.offset(), data=call.data())
            case "fsync" | "fdatasync":
                yield Operation("sync", path)
            case "rename" | "renameat" | "renameat2":
                assert call.target is not None
                yield Operation("rename", path, target=self._name(call.target))
            case "unlink" | "unlinkat" | "rmdir":
                if call.path.exists():
                    yield Operation("unlink", path)
            case "mkdir" | "mkdirat":
                if not call.path.exists():
                    yield Operation("folder", path)
            case "ftruncate":
                yield Operation("cut", path, offset=call.arguments[1])
            case "openat":
                yield from self._opened(call, path)
            case _:
                raise NotImplementedError(f"a recording does not know {call}")

    def _opened(self, call: Call, path: str) -> Iterator[Operation]:
        if not call.path.exists():
            yield Operation("create", path)
        elif call.arguments[2] & os.O_TRUNC:
            yield Operation("cut", path, offset=0)

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.folder)


def record(subject: Subject) -> list[Operation]:
    """Record an uninterrupted run; the recording is checked against the folder that it left."""
    folder, log = subject.scratch / "recorded", subject.scratch / "seams"
    log.unlink(missing_ok=True)
    recorder = Recorder(folder)
    done = subject.traced(folder, recorder, watched=log)
    check(recorder.operations, folder)
    assert not subject.wrong(folder, done), subject.wrong(folder, done)
    shutil.rmtree(folder)
    return recorder.operations


def check(operations: list[Operation], folder: Path) -> None:
    """All operations together must give the folder as it is: then none was missed."""
    from sweeps.replay import Disk

    disk = Disk()
    for operation in operations:
        disk.do(operation)
    files = {os.path.relpath(path, folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert disk.arrived().files == files
