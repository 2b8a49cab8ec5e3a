"""`perdure run` and `predict`: a script in a process of its own, a built-in pipeline in this one."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.app import AsJson, command, emit, reading, say
from perdure.cli.models.pipelines import PIPELINES, options_of, part_of
from perdure.cli.target import Changes, Preset, Target, require
from perdure.errors import UsageError

if TYPE_CHECKING:
    from perdure.settings import Settings

_STARTING_SECONDS = 120.0  # imports of a large framework on a slow disk
_POLL = 0.1
_FORWARDED = ("SIGTERM", "SIGHUP")


@dataclass(frozen=True, slots=True)
class _Started:
    """What to start: a script or a built-in pipeline, with the arguments that are its own."""

    target: str
    arguments: tuple[str, ...]
    preset: str | None
    settings: Settings

    @property
    def is_pipeline(self) -> bool:
        return self.target in PIPELINES

    @property
    def words(self) -> list[str]:
        """The command line of the process."""
        preset = ["--preset", self.preset] if self.preset is not None else []
        if self.is_pipeline:
            return [sys.executable, "-m", "perdure", "run", self.target, *preset, *self.arguments]
        return [sys.executable, self.target, *preset, *self.arguments]


@command("run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def run(
    context: typer.Context,
    target: Target,
    run: Annotated[str | None, typer.Option("--run", metavar="DIR", help="The run's folder.")] = None,
    preset: Preset = None,
    changes: Changes = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Go on without this terminal; see `perdure logs`.")
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Keep results although code or settings changed; journalled."),
    ] = False,
    redo: Annotated[
        list[str] | None,
        typer.Option(metavar="PHASE", help="Compute a phase and all after it again; repeatable."),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try quarantined units again, then the phases after.")
    ] = False,
    grace: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0, help="Time between SIGTERM and the end. [default: 25]"),
    ] = None,
    save_always: Annotated[
        bool, typer.Option("--save-always", help="Make every save that is due, whatever it costs.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Start a run, or resume it.

    The same command does both. Ctrl+C saves and says how to go on. Further options belong to the script or
    pipeline (exoplanet: --data DIR; market: --source NAME, --pace SECONDS, --timeout SECONDS, --leak); write --
    before those that perdure knows too. A pipeline's run is runs/TARGET unless --run names another.
    """
    from perdure.settings import Settings

    require(target)
    base = Settings.from_environment()
    folder = run or base.folder or (str(Path("runs") / target) if target in PIPELINES else None)
    settings = replace(
        base, folder=str(Path(folder).absolute()) if folder else None,
        changes=tuple(changes) if changes else base.changes,
        accept_changes=accept_changes or base.accept_changes, redo=tuple(redo) if redo else base.redo,
        retry_failed=retry_failed or base.retry_failed, grace=base.grace if grace is None else grace,
        save_always=save_always or base.save_always, command=base.command or _typed(target, context),
    )  # fmt: skip
    started = _Started(target, tuple(context.args), preset, settings)
    if detach:
        return _detach(started, as_json=as_json)
    code, folders = _pipeline(started) if started.is_pipeline else _script(started, quiet=as_json)
    if as_json:
        emit({"target": target, "run": folders[-1] if folders else None, "exit_code": code})
    return code


def _typed(target: str, context: typer.Context) -> str:
    """The command as it goes into the run's record, without secrets."""
    from perdure.store.attempts import redacted

    words = sys.argv[1:] if len(sys.argv) > 1 and target in sys.argv else ["run", target, *context.args]
    return shlex.join(["perdure", *redacted(words)])


# -- in the foreground -------------------------------------------------------------------------------------------


def _pipeline(started: _Started) -> tuple[int, list[str]]:
    """A built-in pipeline runs in this process."""
    os.environ.update(started.settings.as_environment())
    folder = Path(started.settings.folder or "")
    options = options_of(started.target, started.arguments)
    main = part_of(started.target, "pipeline").main
    with redirect_stdout(sys.stderr):  # standard output is for results
        code = main(started.preset or PIPELINES[started.target].preset, folder, **options)
    return int(code), [str(folder)]


def _script(started: _Started, *, quiet: bool) -> tuple[int, list[str]]:
    """A script runs in a process of its own; its exit code is ours."""
    with _announcements() as announced:
        environment = os.environ | replace(started.settings, announce=str(announced)).as_environment()
        with _passing_signals_on() as children:
            child = subprocess.Popen(started.words, env=environment, stdout=sys.stderr if quiet else None)
            children.append(child)
            code = child.wait()
        folders = announced.read_text().splitlines()
    if code < 0:
        code = 128 - code
    if code == 0 and any(_has_failed_units(Path(folder)) for folder in folders):
        code = 3
    return code, folders


@contextmanager
def _announcements() -> Iterator[Path]:
    """A private file in which the child names the runs that it opens."""
    descriptor, name = tempfile.mkstemp(prefix="perdure-", suffix=".txt")
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _passing_signals_on() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Ctrl+C reaches the child by itself, so it is not repeated; what is meant for this process is passed on."""
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: object) -> None:
        for child in children:
            child.send_signal(number)

    previous = {signal.SIGINT: signal.signal(signal.SIGINT, lambda *_: None)}
    for name in _FORWARDED:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            previous[number] = signal.signal(number, forward)
    try:
        yield children
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _has_failed_units(folder: Path) -> bool:
    from perdure.store.check import is_completed

    with reading(folder) as reader:
        return (
            reader is not None
            and is_completed(reader)
            and reader.row("SELECT 1 FROM units WHERE state = 'failed' LIMIT 1") is not None
        )


# -- detached ----------------------------------------------------------------------------------------------------


def _detach(started: _Started, *, as_json: bool) -> int:
    """Start in a session of its own, wait until the run is open, say how to follow and stop it."""
    with _announcements() as announced, tempfile.TemporaryFile("w+b") as early:
        settings = replace(started.settings, announce=str(announced), detached=True)
        environment = os.environ | settings.as_environment() | {"PYTHONUNBUFFERED": "1"}
        child = _in_own_session(started.words, environment, early)
        deadline = time.monotonic() + _STARTING_SECONDS
        while not announced.stat().st_size and child.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL / 2)
        folders = announced.read_text().splitlines()
        if not folders:
            return _never_opened(child, early.fileno())
    folder = folders[-1]
    if as_json:
        emit({"run": folder, "pid": child.pid, "log": str(Path(folder) / "run.log")})
        return 0
    shown = shlex.quote(os.path.relpath(folder))
    say(
        f"process {child.pid} runs {folder}", f"  follow: perdure logs -f {shown}",
        f"  stop:   perdure stop {shown}", f"  look:   perdure status {shown}",
    )  # fmt: skip
    return 0


def _in_own_session(words: list[str], environment: dict[str, str], output: Any) -> subprocess.Popen[bytes]:
    hangup = getattr(signal, "SIGHUP", None)
    previous = (
        signal.signal(hangup, signal.SIG_IGN) if hangup is not None else None
    )  # the child inherits this
    flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0) | getattr(subprocess, "DETACHED_PROCESS", 0)
    try:
        return subprocess.Popen(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, creationflags=flags,
        )  # fmt: skip
    finally:
        if hangup is not None:
            signal.signal(hangup, previous)


def _never_opened(child: subprocess.Popen[bytes], early: int) -> int:
    """The process ended, or hangs, before it opened a run: show what it said."""
    os.lseek(early, 0, os.SEEK_SET)
    text = os.read(early, 1 << 20).decode(errors="backslashreplace").rstrip()
    print(text, file=sys.stderr)
    code = child.poll()
    if code is None:
        raise UsageError(
            f"process {child.pid} has opened no run within {_STARTING_SECONDS:.0f} s; it goes on. Does the script "
            "call perdure.open?"
        )
    if code == 0:
        raise UsageError("the script ended without opening a run; does it call perdure.open?")
    return code if code > 0 else 128 - code
