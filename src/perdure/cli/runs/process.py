"""`perdure status`, `stop` and `logs`: the run that goes on elsewhere."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli.app import (
    AsJson,
    RunArgument,
    command,
    emit,
    is_held,
    reading,
    run_folder,
    say,
    size_of,
    table,
    time_of,
)  # fmt: skip
from perdure.console import duration, printable
from perdure.errors import UsageError

if TYPE_CHECKING:
    from perdure.overview import Overview

_COLUMNS = 80
_WATCH_SECONDS = 1.0
_POLL = 0.1


@command("status")
def status(
    run: RunArgument = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Draw again every second until Ctrl+C.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show where a run stands.

    Phases, progress, ETA, last save, process, attempts, time lost and saved, bytes by part, overhead. Works
    while the run trains, after it was killed, and never changes anything. The state is one of new, running,
    stopped, failed, completed.
    """
    return _watch(run_folder(run), as_json=as_json) if watch else answer_status(run, as_json=as_json)


def answer_status(run: str | None, *, as_json: bool) -> int:
    """Once."""
    seen = _look(run_folder(run))
    emit(seen.as_document()) if as_json else say(drawn(seen))
    return 0


def _look(folder: Path) -> Overview:
    from perdure.overview import overview

    with reading(folder) as reader:
        return overview(folder, reader, now=time.time())


def _watch(folder: Path, *, as_json: bool) -> int:
    """In place on a terminal; elsewhere one text or document after the other, until the process is gone."""
    if as_json or not sys.stdout.isatty():
        while True:
            seen = _look(folder)
            emit(seen.as_document()) if as_json else say(drawn(seen), "")
            if not seen.alive:
                return 0
            time.sleep(_WATCH_SECONDS)
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    with Live(Text(""), console=Console(highlight=False), auto_refresh=False) as live:
        while True:
            live.update(Text(drawn(_look(folder)), no_wrap=True, overflow="ellipsis"), refresh=True)
            time.sleep(_WATCH_SECONDS)


def drawn(seen: Overview) -> str:
    """A text of at most 80 columns."""
    lines = [f"{os.path.basename(seen.run)}: {seen.state}{_eta(seen)}", ""]  # noqa: PTH119 - text, no path
    if seen.phases:
        lines += [_phases(seen), ""]
    lines += [f"{name:<11}{text}" for name, text in _facts(seen) if text]
    return "\n".join(_fitted(printable(line)) for line in "\n".join(lines).split("\n"))


def _fitted(line: str) -> str:
    return line if len(line) <= _COLUMNS else f"{line[: _COLUMNS - 1]}…"


def _eta(seen: Overview) -> str:
    if seen.state == "completed":
        return f" with {seen.failed} failed units" if seen.failed else ""
    known = [phase.eta_s for phase in seen.phases if "/" not in phase.name and phase.eta_s]
    if seen.eta_s is None:
        return f", more than {duration(sum(known))} left" if known else ""
    return f", {duration(seen.eta_s)} left"


def _phases(seen: Overview) -> str:
    """The phases in order, and of those nested in them the ones that are not completed."""
    outer = [phase.name for phase in seen.phases if "/" not in phase.name]
    number = {name: f"{place}/{len(outer)}" for place, name in enumerate(outer, 1)}
    rows = [
        [
            number.get(phase.name, ""), phase.name, phase.kind, phase.state, phase.done, phase.failed or None,
            None if phase.total is None else max(0, phase.total - phase.done - phase.failed)
            if phase.state != "completed" else 0,
            duration(phase.eta_s) if phase.eta_s else None,
        ]
        for phase in seen.phases
        if phase.name in number or phase.state != "completed"
    ]  # fmt: skip
    return table(("", "phase", "kind", "state", "done", "failed", "left", "ETA"), rows, width=_COLUMNS)


def _facts(seen: Overview) -> list[tuple[str, str]]:
    return [
        ("epoch", _epoch(seen)),
        ("saved", _saved(seen)),
        ("process", _process(seen)),
        ("attempts", _attempts(seen)),
        ("resuming", f"saved {duration(seen.saved_s)} of work" if seen.saved_s >= 1 else ""),
        ("models", f"{seen.models} trained" if seen.models else ""),
        ("tables", ", ".join(f"{name} {rows:,} rows" for name, rows in seen.tables.items())),
        ("bytes", ", ".join(f"{part} {size_of(size)}" for part, size in seen.bytes.items() if size)),
        ("overhead", _overhead(seen)),
        ("target", seen.target),
        ("folder", seen.run),
    ]


def _epoch(seen: Overview) -> str:
    loops = [phase for phase in seen.phases if phase.kind == "range" and phase.state != "completed"]
    return ", ".join(
        f"{loop.reached} of {loop.total} in {loop.name}"
        + (f" ({loop.done} saved)" if loop.reached > loop.done else "")
        for loop in loops
    )


def _saved(seen: Overview) -> str:
    if seen.last_saved_at is None or seen.last_saved_age_s is None:
        return "nothing yet"
    return f"{duration(seen.last_saved_age_s)} ago, at {time_of(seen.last_saved_at)}"


def _process(seen: Overview) -> str:
    if seen.alive:
        return f"{seen.pid} is alive"
    return f"none (the last one was {seen.pid} on {seen.host})" if seen.pid else "none"


def _attempts(seen: Overview) -> str:
    if not seen.attempts:
        return ""
    cut = sum(attempt.outcome not in {"completed", "running"} for attempt in seen.attempt_log)
    lost = f", {cut} interrupted" if cut else ""
    lost += f", {duration(seen.lost_s)} of work lost" if seen.lost_s >= 0.05 else ""
    return f"{seen.attempts}{lost}{f', {duration(seen.away_s)} between them' if seen.away_s >= 1 else ''}"


def _overhead(seen: Overview) -> str:
    if seen.overhead is None:
        return ""
    budget = "no budget" if seen.budget is None else f"budget {seen.budget:.1%}"
    return f"{seen.overhead:.2%} of the time went into saving ({budget})"


# -- stop and logs -----------------------------------------------------------------------------------------------


@command("stop")
def stop(
    run: RunArgument = None,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for the end.")
    ] = 60.0,
    as_json: AsJson = False,
) -> int:
    """Ask a run to save and end, and wait for it.

    Exit code 1 when it still runs after the timeout; it is never killed.
    """
    from perdure.store.lock import read_holder

    folder = run_folder(run)
    holder = read_holder(folder / "lock")
    if holder is None or not holder.is_alive():
        where = f"; its last process was {holder}" if holder else ""
        raise UsageError(f"no process of this machine works on {folder}{where}")
    _ask(holder.pid)
    deadline = time.monotonic() + timeout
    while (alive := holder.is_alive()) and time.monotonic() < deadline:
        time.sleep(_POLL)
    if as_json:
        emit({"run": str(folder), "pid": holder.pid, "stopped": not alive})
    elif alive:
        say(
            f"process {holder.pid} was asked to stop and still runs after {timeout:.0f} s; look at `perdure logs`"
        )
    else:
        say(f"process {holder.pid} has saved and ended; `perdure run` goes on from there")
    return 1 if alive else 0


def _ask(pid: int) -> None:
    number = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGTERM)  # Windows would end the process at once
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended by itself just now
    except PermissionError:
        raise UsageError(f"process {pid} belongs to another user, who can stop it") from None


@command("logs")
def logs(
    run: RunArgument = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the process ends, or Ctrl+C.")
    ] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", metavar="N", min=0, help="Only the last lines.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show what a run told the terminal.

    This is run.log, across all attempts. With --json and -f every line is a JSON document of its own.
    """
    folder = run_folder(run)
    path = folder / "run.log"
    if not path.exists() and not (follow and is_held(folder)):
        raise UsageError(f"{folder} has no run.log yet; nothing has run there")
    if not follow:
        found = _shown(path.read_bytes().decode(errors="backslashreplace"))
        found = found if lines is None else found[len(found) - min(lines, len(found)) :]
        emit({"run": str(folder), "lines": found}) if as_json else say(*found)
        return 0
    for line in _followed(folder, path, lines):
        if as_json:
            print(json.dumps({"line": line}), flush=True)
        else:
            print(line, flush=True)
    return 0


def _shown(text: str) -> list[str]:
    """Lines without control characters; of a line that was drawn over and over, the last state."""
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [printable(line.rstrip("\r").rpartition("\r")[2].replace("\t", "    ")) for line in lines]


def _followed(folder: Path, path: Path, last: int | None) -> Iterator[str]:
    """Lines as they come, until the run's process is gone and all it wrote was shown."""
    place, rest = 0, ""
    while True:
        alive = is_held(folder)
        text, place = _news(path, place)
        complete, mark, rest = (rest + text).rpartition("\n")
        found = _shown(complete + mark) if mark else []
        yield from found if last is None else found[len(found) - min(last, len(found)) :]
        last = None
        if not alive:
            yield from _shown(rest) if rest else []
            return
        time.sleep(_POLL)


def _news(path: Path, place: int) -> tuple[str, int]:
    try:
        size = path.stat().st_size
        place = place if size >= place else 0  # a reset has begun a new log
        with path.open("rb") as stream:
            stream.seek(place)
            content = stream.read()
    except FileNotFoundError:
        return "", 0
    return content.decode(errors="backslashreplace"), place + len(content)
