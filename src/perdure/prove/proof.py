"""The proof itself: two runs left alone, then killed ones, each resumed until complete and compared bit by bit."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from perdure import files
from perdure.errors import ChangedError, UsageError
from perdure.overview import basis_of
from perdure.prove import points
from perdure.prove.comparison import Difference, compare
from perdure.prove.subject import Point, Subject, has_hash_seed, opened, saved
from perdure.prove.suspects import Suspect, suspects

EXACT, DIFFERS, NONDETERMINISTIC = "exact", "differs", "nondeterministic"
_SPARE = 32 << 20  # bytes beside the runs


@dataclass(frozen=True, slots=True)
class Trial:
    """One run, killed once or several times and resumed until complete."""

    points: tuple[str, ...]  # where it was to be killed
    killed: tuple[bool, ...]  # whether it was: a moment may come when all is done
    saved: tuple[str, ...]  # what each killed process had saved
    seconds: float
    difference: Difference | None = None
    problem: str = ""  # why a resumed process did not come to its end

    @property
    def equal(self) -> bool:
        return self.difference is None and not self.problem


@dataclass(frozen=True, slots=True)
class Proof:
    """What was found. verdict: EXACT, DIFFERS, or NONDETERMINISTIC (the runs that nobody killed differ too)."""

    target: str
    verdict: str
    mode: str
    at: float  # seconds since the epoch
    seconds: float
    uninterrupted: tuple[float, ...]  # seconds of each
    trials: tuple[Trial, ...] = ()
    difference: Difference | None = None  # the first
    cause: str = ""  # in words
    suspects: tuple[Suspect, ...] = ()
    basis: dict[str, str] = field(default_factory=dict)  # phase -> digest of its code, config and libraries

    @property
    def kills(self) -> int:
        return sum(sum(trial.killed) for trial in self.trials)

    @property
    def equal(self) -> int:
        """Kills of those runs that ended with the same bits."""
        return sum(sum(trial.killed) for trial in self.trials if trial.equal)

    @property
    def problem(self) -> str:
        """How the first resumed process failed that came to no end."""
        return next((trial.problem for trial in self.trials if trial.problem), "")


@dataclass(slots=True)
class Prover:
    """Carries out one proof. tell: called after each run with (what, done, total)."""

    subject: Subject
    target: str
    kills: int
    mode: str = "seams"
    keep: bool = False  # leave every run's folder in the scratch folder
    tell: Callable[[str, int, int], None] = lambda what, done, total: None
    _times: list[float] = field(default_factory=list)
    _runs: int = 0

    def prove(self) -> Proof:
        """Raises UsageError where the target itself is at fault, StorageError where the disk is too small."""
        began = time.monotonic()
        self._runs = 2 + self.kills - max(0, points.in_a_row(self.kills) - 1)
        first, single, row = self._uninterrupted_twice()
        difference = _compare(first, self.subject.scratch / "second" / self.subject.name)
        if difference is not None:
            return self._nondeterministic(began, first, difference, ())
        self._discard("second")
        trials: list[Trial] = []
        for number, plan in enumerate([*([point] for point in single), *([row] if row else [])], start=1):
            trials.append(self._trial(first, plan, number))
            self.tell(_outcome(trials[-1]), 2 + number, self._runs)
        return self._judged(began, first, tuple(trials))

    def _uninterrupted_twice(self) -> tuple[Path, list[Point], list[Point]]:
        """The run to compare with, and where to kill others."""
        subject, logs = self.subject, [self.subject.scratch / name for name in ("seams-1", "seams-2")]
        traced = points.watch(subject.scratch / "calls") if self.mode == "syscalls" else None
        first, done = subject.uninterrupted("first", log=logs[0])
        self._times.append(done.seconds)
        self.tell("uninterrupted", 1, self._runs)
        files.require_space(
            subject.scratch, 3 * _bytes(first.parent) + _SPARE, purpose="the other runs of this proof"
        )
        _, again = subject.uninterrupted("second", log=logs[1], through=traced)
        self._times.append(again.seconds)
        self.tell("uninterrupted", 2, self._runs)
        subject.limit = min(subject.limit, 60 + 10 * max(self._times))
        if self.mode == "random":
            plans = points.at_random(0.97 * min(self._times), self.kills)
        elif self.mode == "syscalls":
            plans = points.at_calls(subject.scratch / "calls", subject.work, self.kills)
        else:
            passed = [log.read_text().split() for log in logs]
            plans = points.at_seams(passed[0], passed[1], self.kills)
        return first, *plans

    # -- one run -------------------------------------------------------------------------------------------------

    def _trial(self, first: Path, plan: Sequence[Point], number: int) -> Trial:
        """Kill a fresh run at each point of the plan in turn, then let it come to its end, and compare."""
        subject, began = self.subject, time.monotonic()
        subject.start_over()
        killed, found, problem = [], [], ""
        for point in plan:
            ended = subject.attempt(point)
            killed.append(ended.was_killed)
            found.append(saved(subject.work) if ended.was_killed else "")
            if not ended.was_killed:
                problem = "" if ended.is_complete else ended.problem
                break
        if killed[-1]:
            last = subject.attempt()
            problem = "" if last.is_complete else f"resumed, it {last.problem}"
            if last.code == ChangedError.exit_code:
                raise UsageError(f"{_CHANGED}; the resumed run said:\n{last.last_words}")
        place = subject.set_aside(f"killed-{number}")
        difference = None if problem else _compare(first, place)
        self._discard(f"killed-{number}")
        labels = tuple(point.label for point in plan[: len(killed)])
        return Trial(labels, tuple(killed), tuple(found), time.monotonic() - began, difference, problem)

    def _discard(self, name: str) -> None:
        if not self.keep:
            shutil.rmtree(self.subject.scratch / name)

    # -- the verdict ---------------------------------------------------------------------------------------------

    def _judged(self, began: float, first: Path, trials: tuple[Trial, ...]) -> Proof:
        different = [trial for trial in trials if not trial.equal]
        if different:
            third, done = self.subject.uninterrupted("third")
            self._times.append(done.seconds)
            rare = _compare(first, third)
            if rare is not None:
                return self._nondeterministic(began, first, rare, trials)
            likely = ("local", "random", "time", "threads", "hash", "files")
            difference = next((trial.difference for trial in different if trial.difference), None)
            cause = _CAUSE if difference else _FAILS
            return self._proof(began, first, DIFFERS, trials, difference, cause, likely)
        if not any(any(trial.killed) for trial in trials):
            raise UsageError(
                f"{self.subject.script.name} was through each time before it could be killed, so nothing is proven; "
                "try more --kills, or --at seams"
            )
        return self._proof(began, first, EXACT, trials, None, "", None)

    def _nondeterministic(
        self, began: float, first: Path, difference: Difference, trials: tuple[Trial, ...]
    ) -> Proof:
        """Whether the order of sets is to blame can be tried: the same order must then give the same bits."""
        cause, likely = _UNSTABLE, ("time", "random", "threads", "files", "hash", "local")
        if not has_hash_seed():
            self.tell("uninterrupted, with the first run's order of sets", 2, self._runs)
            same, done = self.subject.uninterrupted("same-order", hash_seed=1)
            self._times.append(done.seconds)
            if _compare(first, same) is None:
                cause, likely = _ORDER, ("hash", "files", "time", "random", "threads", "local")
        return self._proof(began, first, NONDETERMINISTIC, trials, difference, cause, likely)

    def _proof(
        self, began: float, first: Path, verdict: str, trials: tuple[Trial, ...], difference: Difference | None,
        cause: str, likely: tuple[str, ...] | None,
    ) -> Proof:  # fmt: skip
        script = Path(self.subject.script.words[1])
        found = suspects(script, likely=likely) if likely and script.is_file() else []
        return Proof(
            self.target, verdict, self.mode, time.time(), time.monotonic() - began, tuple(self._times), trials,
            difference, cause, tuple(found), _basis(first),
        )  # fmt: skip


_CAUSE = (
    "the runs that nobody killed agree, so something does not survive a resume: a plain local variable of the script "
    "that starts afresh, an object of state= that is replaced and not changed in place, a generator that is not in "
    "state=, what an earlier iteration left in memory or in a file"
)
_FAILS = (
    "the script fails where a resume takes another way through it: what only the body of a loop makes is not there "
    "once that loop is complete (keep it in state=, or make it before the loop), and a file may be there already"
)
_ORDER = (
    "with the order of sets held still (PYTHONHASHSEED) the bits are the same: the script goes over a set, or a dict "
    "made from one, whose order differs in every process"
)
_UNSTABLE = (
    "the script gives other bits each time, also when nothing interrupts it: the time, an unseeded generator, the "
    "order of threads or of files, or a library that is not deterministic"
)


_CHANGED = (
    "what was proven changed meanwhile: leave its files alone until the proof is through, and give perdure.open a "
    "config, and each step arguments, that are the same in every process"
)


def _compare(first: Path, place: Path) -> Difference | None:
    """The first difference of two runs of the same thing. Raises UsageError when they are not."""
    difference = compare(first, place)
    if difference is not None:
        known, now = _basis(first), _basis(place)
        changed = [path for path in known if now.get(path, known[path]) != known[path]]
        if changed:
            raise UsageError(f"{_CHANGED} (phase {changed[0]} ran with other code, config or libraries)")
    return difference


def _basis(folder: Path) -> dict[str, str]:
    with opened(folder) as reader:
        return basis_of(reader)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _outcome(trial: Trial) -> str:
    where = trial.points[0] if len(trial.points) == 1 else f"{len(trial.points)} kills in a row"
    return f"{where}: {'equal' if trial.equal else 'DIFFERS'}"
