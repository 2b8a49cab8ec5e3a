"""`perdure prove`: shows that a killed and resumed run ends with the bits of an uninterrupted one."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli.app import AsJson, command, emit, say, table, terminal_width
from perdure.cli.models.pipelines import PIPELINES, options_of
from perdure.cli.target import Changes, Preset, Target, require
from perdure.errors import UsageError

if TYPE_CHECKING:
    from perdure.prove.proof import Proof
    from perdure.prove.subject import Subject
    from perdure.testing import Script


@command("prove", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def prove(
    context: typer.Context,
    target: Target,
    kills: Annotated[int, typer.Option("--kills", metavar="N", min=1, help="How many kills.")] = 12,
    mode: Annotated[
        str,
        typer.Option(
            "--at", metavar="WHERE", help="Where to kill: seams, random moments, or syscalls (strace)."
        ),
    ] = "seams",
    preset: Preset = None,
    changes: Changes = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="DIR", help="The run that gets the badge. [default: the target's own]"),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Make the runs in this new folder, and leave them there."),
    ] = None,
    timeout: Annotated[
        str,
        typer.Option(metavar="TIME", help="How long an uninterrupted run may take, such as 90s, 20m, 2h."),
    ] = "1h",
    as_json: AsJson = False,
) -> int:
    """Kill a target at many points, resume it, and compare all bits.

    It runs twice uninterrupted first: where these differ, the script itself is not deterministic, and nothing is
    killed. Then it is killed (SIGKILL), each time in a fresh run, and one run several times in a row; each is resumed
    until complete and compared with the first. What differs is named down to the value, with its usual causes. A page,
    a badge and proof.json go into exports/ of the target's run, where there is one, else into proofs/NAME. Your own
    runs are not touched. Further options belong to the script or pipeline. Exit code 0 exact, 1 not, 2 usage.
    """
    from perdure.prove.points import MODES
    from perdure.prove.proof import EXACT, Prover
    from perdure.prove.scratch import scratch
    from perdure.prove.subject import Subject
    from perdure.snapshot.policy import seconds_of

    require(target)
    if mode not in MODES:
        raise UsageError(f"--at {mode!r} is not known; there are {', '.join(MODES)}")
    script = _script(target, preset, context.args, tuple(changes or ()))
    limit = seconds_of(timeout, name="--timeout")
    with scratch(keep) as place, _terminated_as_interrupted():
        progress = _Progress()
        subject = Subject(script, Path(target).stem, place, limit, progress.alive)
        prover = Prover(subject, target, kills, mode, keep is not None, progress.after)
        try:
            proof = prover.prove()
        except KeyboardInterrupt:
            progress.stopped(place if keep else None)
            raise
        progress.clear()
    _leave(proof, _place(target, run, subject), as_json=as_json)
    return 0 if proof.verdict == EXACT else 1


def _script(target: str, preset: str | None, arguments: list[str], changes: tuple[str, ...]) -> Script:
    """The command that is proven, as `perdure run` starts it."""
    from perdure.settings import Settings
    from perdure.testing import Script

    words = [*(["--preset", preset] if preset is not None else []), *arguments]
    base = Settings.from_environment()
    named = replace(Settings(), changes=changes or base.changes, grace=base.grace).as_environment()
    if target in PIPELINES:
        options_of(target, arguments)  # a mistake in them is told now, and not as the failure of a run
        return Script((sys.executable, "-m", "perdure", "run", target, *words), named)
    return Script((sys.executable, target, *words), named)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP end a proof as Ctrl+C does: its processes and folders go with it."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    wanted = [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


# -- while it goes on --------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Progress:
    """A line a run on standard error and, on a terminal, a live one below it."""

    done: int = 0
    total: int = 0
    _began: float = field(default_factory=time.monotonic)
    _drawn: bool = False

    def after(self, what: str, done: int, total: int) -> None:
        """A run has ended."""
        self.clear()
        self.done, self.total = done, total
        print(f"[{done}/{total}] {what}{self._left()}", file=sys.stderr, flush=True)

    def alive(self, seconds: float) -> None:
        """A process has been running for so long."""
        if sys.stderr.isatty():
            from perdure.console import duration

            count = f"run {self.done + 1} of {self.total}" if self.total else "first uninterrupted run"
            print(
                f"\r\x1b[2K  {count}: {duration(seconds)}{self._left()}", end="", file=sys.stderr, flush=True
            )
            self._drawn = True

    def _left(self) -> str:
        from perdure.console import duration

        if not self.done or self.done >= self.total:
            return ""
        each = (time.monotonic() - self._began) / self.done
        return f" ({duration(each)} each, {duration(each * (self.total - self.done))} left)"

    def stopped(self, place: Path | None) -> None:
        """After Ctrl+C: say what is left. place: where the runs are kept."""
        self.clear()
        left = f"what was made is in {place}" if place else "nothing is left behind"
        said = f"perdure: stopped; {left}; the target's own runs were never touched"
        print(said, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._drawn:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)
            self._drawn = False


# -- in the end --------------------------------------------------------------------------------------------------


def _place(target: str, run: str | None, subject: Subject) -> Path:
    """Where page and badge go: into the target's own run, if it has one."""
    own = Path(run) if run else Path("runs") / target if target in PIPELINES else subject.own_folder
    if own is not None and (own / "run.db").exists():
        return own.absolute() / "exports"
    if run:
        raise UsageError(f"--run {run} holds no run; leave it out, or name the run of this target")
    return Path("proofs").absolute() / Path(target).stem


def _leave(proof: Proof, place: Path, *, as_json: bool) -> None:
    from perdure.prove import report

    paths = report.write(proof, place)
    if as_json:
        emit({**report.document(proof), "files": paths})
        return
    if proof.trials:
        names = ("killed at", "died", "resumed at", "result")
        say(table(names, report.rows(proof), width=terminal_width()), "")
    say(f"{proof.target}: {report.headline(proof)}", *(f"  {line}" for line in report.findings(proof)))
    say(*(f"{name:<7}{path}" for name, path in zip(("data", "page", "badge"), paths, strict=True)))
