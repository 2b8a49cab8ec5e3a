"""`perdure logs` and `stop`: the run that goes on elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from perdure import holding
from perdure.cli.app import AsJson, RunArgument, command, emit, is_held, run_folder, say
from perdure.console import lines_of
from perdure.errors import UsageError

_POLL = 0.1


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
    folder = run_folder(run)
    ended = holding.stop(folder, timeout=timeout)
    if as_json:
        emit({"run": str(folder), "pid": ended.pid, "stopped": ended.stopped})
    elif ended.stopped:
        say(f"process {ended.pid} has saved and ended; `perdure run` goes on from there")
    else:
        say(
            f"process {ended.pid} was asked to stop and still runs after {timeout:.0f} s; look at `perdure logs`"
        )
    return 0 if ended.stopped else 1


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
        found = lines_of(path.read_bytes().decode(errors="backslashreplace"))
        found = found if lines is None else found[len(found) - min(lines, len(found)) :]
        emit({"run": str(folder), "lines": found}) if as_json else say(*found)
        return 0
    for line in _followed(folder, path, lines):
        if as_json:
            print(json.dumps({"line": line}), flush=True)
        else:
            print(line, flush=True)
    return 0


def _followed(folder: Path, path: Path, last: int | None) -> Iterator[str]:
    """Lines as they come, until the run's process is gone and all it wrote was shown."""
    place, rest = 0, ""
    while True:
        alive = is_held(folder)
        text, place = _news(path, place)
        complete, mark, rest = (rest + text).rpartition("\n")
        found = lines_of(complete + mark) if mark else []
        yield from found if last is None else found[len(found) - min(last, len(found)) :]
        last = None
        if not alive:
            yield from lines_of(rest) if rest else []
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
