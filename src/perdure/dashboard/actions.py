"""What the dashboard may change: what `perdure stop`, `reset`, `run --retry-failed`, `promote` and `rollback` do."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.dashboard.answers.registry import Deployments
from perdure.errors import UsageError
from perdure.holding import stop
from perdure.overview import Overview
from perdure.reading import reading
from perdure.store.database import Row

STOPPING_SECONDS = 40.0  # longer than the 25 s that a run may take for its last save
_STARTING_SECONDS = 150.0  # `perdure run --detach` waits 120 s for the run to open
_HIDDEN = "***"
_MOST_VERSIONS = 10**9
_DROPPED = {"--detach": 0, "--json": 0, "--retry-failed": 0, "--accept-changes": 0, "--redo": 1, "--run": 1}


@dataclass(frozen=True, slots=True)
class Request:
    """What a person asked for. Unknown fields are nobody's business."""

    version: int | None = None
    reason: str | None = None

    @classmethod
    def of(cls, document: object) -> Request:
        """Raises UsageError for fields of another kind."""
        given = document if isinstance(document, dict) else {}
        version, reason = given.get("version"), given.get("reason")
        if version is not None and (type(version) is not int or abs(version) > _MOST_VERSIONS):
            raise UsageError(f"version {version!r} is not a whole number")
        if reason is not None and (not isinstance(reason, str) or len(reason) > 1000):
            raise UsageError("the reason is not a text of at most 1000 characters")
        return cls(version, reason.strip() or None if reason is not None else None)


def possible(seen: Overview, deployments: Deployments | None) -> list[str]:
    """Names of the actions that make sense now. Whether a process is alive does not tell: it may have left the run."""
    running = seen.state == "running"
    found = {
        "stop": running,
        "reset": not running and seen.attempts > 0,
        "retry": not running and seen.failed > 0,
        "promote": deployments is not None and deployments.can_promote,
        "rollback": deployments is not None and deployments.can_roll_back,
    }
    return [name for name, makes_sense in found.items() if makes_sense]


def _last_attempt(place: Path) -> Row:
    with reading(place) as reader:
        row = reader.row("SELECT command, outcome FROM attempts ORDER BY id DESC LIMIT 1") if reader else None
    if row is None:
        raise UsageError(f"nothing was recorded in {place} yet")
    return row


def _stop(place: Path, _: Request) -> str:
    if _last_attempt(place)["outcome"] != "running":
        raise UsageError(f"no process works on {place}")
    ended = stop(place, timeout=STOPPING_SECONDS)
    if ended.stopped:
        return f"process {ended.pid} has saved and ended"
    return f"process {ended.pid} was asked to stop and still runs; its log says what it does"


def _reset(place: Path, _: Request) -> str:
    """By the command, in a process of its own: the lock must not name the dashboard, which lives on."""
    _last_attempt(place)  # pressed twice, the second has nothing to back up
    done = _answer([sys.executable, "-m", "perdure", "reset", str(place.absolute()), "--json"], Path.cwd())
    backup = done["backup"]
    return f"starts over; the state before is backup {backup['name']}" if backup else "starts over"


def _retry(place: Path, _: Request) -> str:
    last = _last_attempt(place)
    with reading(place) as reader:
        if reader is None or reader.row("SELECT 1 FROM units WHERE state = 'failed'") is None:
            raise UsageError(f"no unit of {place} has failed; there is nothing to try again")
    words, folder = again(last["command"], place)
    return f"process {_answer(words, folder)['pid']} tries the failed units again"


def _answer(words: Sequence[str], folder: Path) -> Any:
    """The JSON document of a command. Raises UsageError with what it says when it fails."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    try:
        done = subprocess.run(
            words, cwd=folder, env=inherited, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="backslashreplace", timeout=_STARTING_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UsageError(f"{shlex.join(words)} has not answered within {_STARTING_SECONDS:.0f} s") from None
    if done.returncode:
        said = done.stderr.strip()[-2000:].removeprefix("perdure: error: ")
        raise UsageError(said or f"{shlex.join(words)} ended with {done.returncode}")
    return json.loads(done.stdout)


def again(command: str, place: Path) -> tuple[list[str], Path]:
    """The command that starts a run again, detached and with --retry-failed, and the folder to start it in.

    The record has the words that were typed, not the folder they were typed in: a script is looked for in the current
    folder, then beside the run. Raises UsageError where that does not lead to the very same command.
    """
    try:
        typed = shlex.split(command)
    except ValueError:
        typed = []
    by_perdure = typed[:2] == ["perdure", "run"]
    words = _without(typed[2:], _DROPPED) if by_perdure else typed
    target = next((word for number, word in enumerate(words) if _is_target(words, number)), "")
    folder = _folder_of(target, place, by_perdure=by_perdure)
    if _HIDDEN in command or folder is None:
        raise UsageError(
            f"the recorded command ({command}) cannot be repeated from here; add --retry-failed to it in a terminal"
        )
    options = ["--run", str(place.absolute()), "--retry-failed", "--detach", "--json"]
    return [sys.executable, "-m", "perdure", "run", *options, *words], folder


def _is_target(words: Sequence[str], number: int) -> bool:
    before = words[number - 1] if number else ""
    takes_value = before in {"--preset", "--set", "--grace"}
    return not words[number].startswith("-") and not takes_value


def _without(words: Sequence[str], options: Mapping[str, int]) -> list[str]:
    """Words up to `--` without options, each of which takes so many values."""
    kept: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*kept, word, *rest]
        name, separator, _ = word.partition("=")
        if name not in options:
            kept.append(word)
        elif not separator:
            del rest[: options[name]]
    return kept


def _folder_of(target: str, place: Path, *, by_perdure: bool) -> Path | None:
    """Where the target was started: where it is found as it was written. A script inside the run's own folder does not
    count: a run folder that came from elsewhere must not bring code with it."""
    beside = list(place.absolute().parents)[:4]
    if by_perdure and target.isidentifier():
        return beside[1]  # a built-in pipeline
    for folder in (Path.cwd(), beside[1], beside[0], *beside[2:]) if target.endswith(".py") else ():
        script = folder / target
        if script.is_file() and not script.resolve().is_relative_to(place.resolve()):
            return folder
    return None


def _promote(place: Path, asked: Request) -> str:
    return Deployments.change(place, lambda registry, name: _promoted(registry, name, asked))


def _promoted(registry: Any, name: str, asked: Request) -> str:
    done = registry.promote(name, asked.version, who=_who(), force=asked.reason)
    return f"version {done.version} is the champion of {name}"


def _rollback(place: Path, asked: Request) -> str:
    return Deployments.change(place, lambda registry, name: _rolled_back(registry, name, asked))


def _rolled_back(registry: Any, name: str, asked: Request) -> str:
    done = registry.rollback(name, who=_who(), reason=asked.reason)
    return f"version {done.version} is the champion of {name} again"


def _who() -> str:
    """The person at the keyboard, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return str(os.getuid()) if hasattr(os, "getuid") else "unknown"


ACTIONS: dict[str, Callable[[Path, Request], str]] = {
    "stop": _stop, "reset": _reset, "retry": _retry, "promote": _promote, "rollback": _rollback,
}  # fmt: skip
