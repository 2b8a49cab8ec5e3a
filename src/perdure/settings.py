"""What a command line asks of the script that it starts, handed over in the environment.

`perdure run train.py --set lr=0.1` and `PERDURE_SET='["lr=0.1"]' python train.py` are the same.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import UsageError


@dataclass(frozen=True, slots=True)
class Settings:
    """Overrides of what a script gives to `perdure.open`."""

    folder: str | None = None  # --run
    changes: tuple[str, ...] = ()  # --set key=value
    accept_changes: bool = False
    redo: tuple[str, ...] = ()  # phases
    retry_failed: bool = False
    grace: float = 25.0  # seconds between SIGTERM and the end, for the last save
    save_always: bool = False  # no overhead budget: every save that is due is made
    command: str = ""  # what the user typed, where it is not this process's own command line
    announce: str = ""  # a file for the folders of the runs that are opened: told to the process that waits
    announce_own: str = ""  # a file for the folders that the script itself names, where --run overrides them
    keep: int = 0  # at least so many of a loop's latest snapshots stay
    detached: bool = False  # all output goes to run.log alone
    report: bool = True  # a run that completes leaves a page for people; PERDURE_REPORT=0 leaves it out

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        def flag(name: str) -> bool:
            return environment.get(name, "") not in {"", "0"}

        return cls(
            environment.get("PERDURE_RUN") or None,
            _texts(environment, "PERDURE_SET"),
            flag("PERDURE_ACCEPT_CHANGES"),
            _texts(environment, "PERDURE_REDO"),
            flag("PERDURE_RETRY_FAILED"),
            _number(environment, "PERDURE_GRACE", 25.0),
            flag("PERDURE_SAVE_ALWAYS"),
            environment.get("PERDURE_COMMAND", ""),
            environment.get("PERDURE_ANNOUNCE", ""),
            environment.get("PERDURE_ANNOUNCE_OWN", ""),
            int(_number(environment, "PERDURE_KEEP", 0)),
            flag("PERDURE_DETACHED"),
            environment.get("PERDURE_REPORT", "1") != "0",
        )

    def as_environment(self) -> dict[str, str]:
        """The variables that hand these settings to a script."""
        chosen = {
            "PERDURE_RUN": self.folder or "",
            "PERDURE_SET": json.dumps(self.changes) if self.changes else "",
            "PERDURE_ACCEPT_CHANGES": "1" if self.accept_changes else "",
            "PERDURE_REDO": json.dumps(self.redo) if self.redo else "",
            "PERDURE_RETRY_FAILED": "1" if self.retry_failed else "",
            "PERDURE_GRACE": str(self.grace),
            "PERDURE_SAVE_ALWAYS": "1" if self.save_always else "",
            "PERDURE_COMMAND": self.command,
            "PERDURE_ANNOUNCE": self.announce,
            "PERDURE_ANNOUNCE_OWN": self.announce_own,
            "PERDURE_KEEP": str(self.keep) if self.keep else "",
            "PERDURE_DETACHED": "1" if self.detached else "",
            "PERDURE_REPORT": "" if self.report else "0",
        }
        return {name: value for name, value in chosen.items() if value}

    def tell_folder(self, folder: Path) -> None:
        """Let the process that started this one know which run it opened."""
        _append(self.announce, folder)


def _append(file: str, line: object) -> None:
    if file:
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")


def _texts(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = environment.get(name, "")
    if not text:
        return ()
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UsageError(f"{name}={text!r} is not a JSON list of texts; write it like '[\"lr=0.1\"]'")
    return tuple(values)


def _number(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name, "")
    try:
        return float(text) if text else default
    except ValueError:
        raise UsageError(f"{name}={text!r} is not a number") from None


def folder_for(given: str | os.PathLike[str], settings: Settings) -> Path:
    """The run's folder: what --run names, or what the script gives. Who started the script is told the latter."""
    own = _own_folder(given)
    _append(settings.announce_own, own)
    return own if settings.folder is None else Path(settings.folder).absolute()


def _own_folder(given: str | os.PathLike[str]) -> Path:
    """What a script gives: a relative folder lies beside the script that runs, not in the current folder."""
    path = Path(given).expanduser()
    if path.is_absolute():
        return path
    script = getattr(sys.modules.get("__main__"), "__file__", None)
    base = Path(script).absolute().parent if script else Path.cwd()
    return base / path


def overridden(config: Mapping[str, object], changes: Sequence[str]) -> dict[str, object]:
    """`config` with `key=value` changes; a dotted key reaches inside, a value is JSON or plain text."""
    result = json.loads(json.dumps(config)) if changes else dict(config)
    for change in changes:
        key, separator, text = change.partition("=")
        if not separator or not key:
            raise UsageError(f"--set {change!r} is not key=value; write it like --set rate=0.1")
        _put(result, key.split("."), _value(text), given=change)
    return result


def _put(target: dict[str, object], path: Sequence[str], value: object, *, given: str) -> None:
    for name in path[:-1]:
        inner = target.get(name)
        if not isinstance(inner, dict):
            raise UsageError(
                f"--set {given!r}: there is no section {name!r}; there are {', '.join(sorted(target))}"
            )
        target = inner
    if path[-1] not in target:
        known = ", ".join(sorted(target)) or "none"
        raise UsageError(f"--set {given!r}: the script has no setting {path[-1]!r}; it has {known}")
    target[path[-1]] = value


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
