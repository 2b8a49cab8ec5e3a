"""Every call that changes a file of a run is the last one, or fails: once, or from then on."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from sweeps.ledger import Sweep
from sweeps.subject import Facts, Subject, facts, last_line
from sweeps.tracer import KILL, Answer, Call
from sweeps.warm import Done

LOOK_BACK = 60  # calls: commits are closer together than that
DATABASE_FILES = {"run.db", "run.db-wal", "run.db-journal"}
SYNCS = {"fsync", "fdatasync"}


class Acknowledged:
    """A visitor that knows what the run has acknowledged, and hands calls on to `answer`.

    At a "commit.after" what the database holds is acknowledged, unless another thread is in the middle of a commit.
    Before call `since` it does not look.
    """

    def __init__(self, folder: Path, *, since: int = 0) -> None:
        self.folder, self.since = folder, since
        self.facts: Facts = frozenset()
        self.last = 0
        self.committing: set[int] = set()  # threads

    def __call__(self, call: Call) -> Answer:
        if call.index == 0:
            if _is_commit(call):
                self.committing.discard(call.thread)
                if not self.committing and self.last >= self.since:
                    self.facts = facts(self.folder)
            return None
        self.last = call.index
        if call.path.name in DATABASE_FILES and call.name not in SYNCS:
            self.committing.add(call.thread)
        return self.answer(call)

    def answer(self, call: Call) -> Answer:
        return None


def _is_commit(call: Call) -> bool:
    """Whether a thread tells that its transaction is on disk."""
    return call.name == "write" and call.data().strip() == b"commit.after"


FOREIGN = {".h5"}  # HDF5 ends the process, even by a signal, when a write of its own fails


class Fault(Acknowledged):
    """One call, by its number, gets an answer of ours; with `lasting` all after it do so too."""

    def __init__(self, folder: Path, index: int, answer: Answer, *, lasting: bool = False) -> None:
        super().__init__(folder, since=index - LOOK_BACK)
        self.index, self.wanted, self.lasting = index, answer, lasting
        self.hit: Call | None = None
        self.hit_foreign = False

    def answer(self, call: Call) -> Answer:
        if call.index < self.index or (call.index > self.index and not self.lasting):
            return None
        self.hit = self.hit or call
        self.hit_foreign = self.hit_foreign or call.path.suffix in FOREIGN
        return self.wanted

    def __str__(self) -> str:
        return str(self.hit or f"#{self.index}")


def killed(subject: Subject, sweep: Sweep, points: Sequence[int]) -> None:
    """Killed just before each of these calls, a rerun ends with the same bits and does nothing again that counted."""
    for index in points:
        folder = subject.scratch / "run"
        fault = Fault(folder, index, KILL)
        ended = subject.traced(folder, fault)
        if fault.hit is None:  # threads take turns in another order: this run had fewer calls
            sweep.add(fault, "ended before", subject.wrong(folder, ended))
        else:
            sweep.add(fault, "killed, resumed", subject.resumed(folder, facts(folder)))
        shutil.rmtree(folder)


def failed(subject: Subject, sweep: Sweep, points: Sequence[int], code: int, *, lasting: bool) -> None:
    """Each of these calls fails: a clear stop, or the run has no need of it; then a rerun ends with the same bits."""
    for index in points:
        folder, log = subject.scratch / "run", subject.scratch / "seams"
        log.unlink(missing_ok=True)
        fault = Fault(folder, index, code, lasting=lasting)
        ended = subject.traced(folder, fault, watched=log)
        answer, wrong = "survived", ""
        if ended.code not in (0, 74) and fault.hit_foreign:
            answer = "the library of that file gave up, resumed"
        elif ended.code:
            answer, wrong = f"stopped {ended.code}, resumed", unclear(ended, folder)
        elif damaged := subject.wrong(folder, ended):
            wrong = f"exits 0, but: {damaged}"
        wrong = wrong or subject.resumed(folder, fault.facts)
        if not wrong and (aside := list(folder.rglob("*.damaged-*"))):
            wrong = f"takes {aside[0].name} for damage"
        sweep.add(f"{errno.errorcode[code]}{'+' if lasting else ''} at {fault}", answer, wrong)
        if folder.exists():
            shutil.rmtree(folder)


def unclear(ended: Done, folder: Path) -> str:
    """What a stop for the disk's sake fails to say: the place, what to do, and that what was saved is intact."""
    said = error_line(ended)
    if ended.code != 74 or not said:
        return f"exits {ended.code}: {last_line(ended.err)}"
    if "Traceback" in ended.err:
        return f"shows a traceback: {said}"
    missing = [word for word in (str(folder), "run the same command again", "intact") if word not in said]
    return f"does not say {missing[0]!r}: {said}" if missing else ""


def error_line(ended: Done) -> str:
    """The last error that perdure tells of, or nothing."""
    lines = [line for line in ended.err.splitlines() if line.startswith("perdure: error:")]
    return lines[-1] if lines else ""


class Signalled(Acknowledged):
    """The run gets a signal just before one of its calls, and another one `gap` calls later where asked."""

    def __init__(self, folder: Path, index: int, number: signal.Signals, gap: int | None) -> None:
        super().__init__(folder, since=index - LOOK_BACK)
        self.index, self.number, self.gap = index, number, gap

    def answer(self, call: Call) -> Answer:
        if call.index in {self.index, self.index + self.gap if self.gap is not None else None}:
            os.kill(call.thread, self.number)
            if self.gap == 0:
                os.kill(call.thread, self.number)
        return None

    def __str__(self) -> str:
        return f"{self.number.name} before #{self.index}" + (
            "" if self.gap is None else f", again {self.gap} later"
        )


def signalled(
    subject: Subject, sweep: Sweep, points: Sequence[tuple[int, int | None]], number: signal.Signals
) -> None:
    """After a signal at any call, or two: the exit code of that signal, and a rerun ends with the same bits."""
    for index, gap in points:
        folder, log = subject.scratch / "run", subject.scratch / "seams"
        log.unlink(missing_ok=True)
        sent = Signalled(folder, index, number, gap)
        ended = subject.traced(folder, sent, watched=log)
        expected = {
            0: "too late",
            128 + number: f"{128 + number}, resumed",
            -number: "before it was opened, resumed",
        }
        wrong = "" if ended.code in expected else f"exits {ended.code}: {last_line(ended.err)}"
        wrong = wrong or subject.resumed(folder, sent.facts)
        sweep.add(sent, expected.get(ended.code, ""), wrong)
        shutil.rmtree(folder)
