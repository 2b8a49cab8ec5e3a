"""Every file of a run is damaged, one at a time: bits flipped all over it; cut, emptied, deleted; put back to older."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from processes import KILLED, rows
from sweeps.ledger import Sweep
from sweeps.subject import Facts, Subject, facts, last_line
from sweeps.tracer import Call
from sweeps.warm import Done

REGION = 64  # bytes: one bit is flipped in each
SMALL = 16 << 10  # bytes: larger files are sampled
SAMPLED = 256  # regions of a larger file
_SEAMS = {"units": ("unit.computed:2", "iteration.end:3")}  # where a run is killed that hands out no batches
_WORDS_FOR_LOSS = ("warning: ", "computed again", "computes it again")


@dataclass(frozen=True, slots=True)
class Damage:
    """What happens to one file."""

    file: str  # relative to the run's folder
    what: str
    change: Callable[[bytes], bytes | None]  # None: the file is gone
    place: int | None = None  # of a flipped bit, in bytes

    def do(self, folder: Path) -> None:
        path = folder / self.file
        content = self.change(path.read_bytes())
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


def _flip(place: int, bit: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :]


def _flips(file: str, size: int, *, sampled: int | None) -> Iterator[Damage]:
    regions = range(-(-size // REGION))
    if sampled is not None and size > SMALL:
        regions = range(0, len(regions), max(1, len(regions) // sampled))
    for region in regions:
        place = min(size - 1, region * REGION + region * 37 % REGION)
        yield Damage(file, f"bit {region % 8} of byte {place} flipped", _flip(place, region % 8), place)


def damages(folder: Path, older: Path, *, sampled: int | None = SAMPLED) -> Iterator[Damage]:
    """All damage that is tried. `older`: the same run at an earlier time."""
    for path in sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("-shm")
    ):
        file, size = os.path.relpath(path, folder), path.stat().st_size
        yield Damage(file, "deleted", lambda content: None)
        if not size:
            continue
        yield Damage(file, "emptied", lambda content: b"")
        yield Damage(file, "cut in half", lambda content: content[: len(content) // 2])
        yield Damage(file, "cut by one byte", lambda content: content[:-1])
        yield from _put_back(path, file, older)
        yield from _flips(file, size, sampled=sampled)


def _put_back(path: Path, file: str, older: Path) -> Iterator[Damage]:
    earlier = (
        [older / file] if (older / file).exists() else sorted((older / file).parent.glob("*.safetensors"))
    )
    for copy in earlier[-1:]:
        if copy.read_bytes() != path.read_bytes():
            yield Damage(file, f"replaced by an older {copy.name}", lambda _, copy=copy: copy.read_bytes())


def killed_run(subject: Subject, folder: Path, older: Path) -> None:
    """A run that was killed twice; its log is not in its database yet. `older` is it after the first time."""
    first, second = _SEAMS.get(subject.name, ("batch.end:4", "batch.end:5"))
    for seam, copy in ((first, older), (second, None)):
        assert subject.run(folder, cold=True, PERDURE_KILL_AT=seam).code == KILLED
        if copy is not None:
            shutil.copytree(folder, copy)


def unrecorded_run(subject: Subject, folder: Path, older: Path) -> None:
    """A run that was killed when a snapshot had its name and no row yet. `older` is it after an earlier kill."""
    assert subject.run(folder, cold=True, PERDURE_KILL_AT="batch.end:4").code == KILLED
    shutil.copytree(folder, older)
    assert subject.run(folder, cold=True, PERDURE_KILL_AT="snapshot.published:2").code == KILLED


def stopped_run(subject: Subject, folder: Path, older: Path) -> None:
    """A run that was killed once, and then stopped in order in the middle of its loop."""
    assert subject.run(folder, cold=True, PERDURE_KILL_AT="batch.end:4").code == KILLED
    shutil.copytree(folder, older)
    renames = []

    def interrupt(call: Call) -> None:
        if call.name == "rename" and call.path.name.endswith(".tmp"):
            renames.append(call)
            if len(renames) == 4:
                os.kill(call.thread, signal.SIGINT)

    ended = subject.traced(folder, interrupt)
    assert ended.code == 130, ended.err


def completed_run(subject: Subject, folder: Path, older: Path) -> None:
    """A run that was killed once and then completed."""
    assert subject.run(folder, cold=True, PERDURE_KILL_AT="snapshot.published:2").code == KILLED
    shutil.copytree(folder, older)
    assert subject.run(folder).code == 0


MADE = {
    "killed": killed_run,
    "unrecorded": unrecorded_run,
    "stopped": stopped_run,
    "completed": completed_run,
}


def answered(subject: Subject, sweep: Sweep, run: Path, some: Sequence[Damage]) -> None:
    """Same bits at a cost within the promise and said; or a clear stop, and a repair that leads to the same bits."""
    before, spared = facts(run), facts_of_backup(run)
    for damage in some:
        folder = subject.scratch / "run"
        shutil.copytree(run, folder)
        damage.do(folder)
        done = subject.run(folder)
        if done.code:
            answer, wrong = (
                "stopped, repaired, same bits",
                _unclear(done, folder) or _repaired(subject, folder),
            )
        else:
            wrong = subject.wrong(folder, done)
            lost = done_again(before, facts(folder), folder) if not wrong else frozenset()
            answer = "same bits, part of it done again" if lost else "same bits"
            wrong = wrong or _too_much(damage, lost, spared, done.err)
            if not wrong and (left := subject.findings(folder)):
                answer, wrong = "same bits, what is left is found and repaired", _repaired(subject, folder)
                wrong = wrong and f"after a rerun with the same bits verify finds {left[0]}; {wrong}"
        sweep.add(damage, answer, wrong)
        shutil.rmtree(folder)


def done_again(before: Facts, after: Facts, folder: Path) -> Facts:
    """What was lost, or made once more by a later attempt. Damage to what a row says of itself is neither.

    A generation whose row was lost and written again from its file was not made once more, nor was its history.
    """
    attempts = {fact[-2] for fact in before}
    kept = {fact[:3] for fact in after if fact[-2] in attempts}
    finished = {
        ("generation", loop, json.loads(detail)["generation"])
        for loop, detail in rows(
            folder, "SELECT subject, detail FROM journal WHERE event = 'snapshot finished'"
        )
    }
    loops = {loop for _, loop, _ in finished}
    lost = frozenset(fact for fact in before if fact[:3] not in kept | finished)
    is_history = all(fact[0] == "entry" and fact[1] in loops for fact in lost)
    return frozenset() if is_history else lost


def facts_of_backup(run: Path) -> Facts:
    """What the rolling backup knows."""
    place = run.parent / "backup"
    place.mkdir(exist_ok=True)
    shutil.copy(run / "run.db.backup", place / "run.db")
    return facts(place)


def _unclear(done: Done, folder: Path) -> str:
    said = done.err[done.err.rfind("perdure: error:") :]
    if "Traceback" in done.err or not said.startswith("perdure: error:"):
        return f"exits {done.code} with a traceback: {last_line(done.err)}"
    is_clear = done.code in {1, 74} and (str(folder) in said or "run.db" in said)
    return "" if is_clear else f"exits {done.code} and names no file: {said}"


def _too_much(damage: Damage, lost: Facts, spared: Facts, said: str) -> str:
    """Whether more was done again than one generation and one unit, or, of a database, what its backup knew too."""
    if not lost:
        return ""
    if not any(word in said for word in _WORDS_FOR_LOSS):
        return f"does again, and does not say so: {sorted(map(str, lost))[:2]}"
    generations = {fact[1:3] for fact in lost if fact[0] == "generation"}
    units = {fact[1:3] for fact in lost if fact[0] == "unit"}
    if len(generations) <= 1 and len(units) <= 1:
        return ""
    known = lost & spared if damage.file.startswith("run.db") else lost
    return f"does again {sorted(generations)}, {sorted(units)}" if known else ""


def _repaired(subject: Subject, folder: Path) -> str:
    """Repair, go on, verify; what is wrong with that."""
    found = subject.findings(folder, repair=True)
    if found and found[0].startswith("verify: "):
        return f"repair: {found[0]}"
    wrong = subject.wrong(folder, subject.run(folder))
    left = subject.findings(folder) if not wrong else []
    return f"after the repair: {wrong or left[0]}" if wrong or left else ""
