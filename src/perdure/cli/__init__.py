"""The command line. Commands are thin: what they do is done by modules that a script can use too.

Only the module of the command that was typed is imported, and only that command is built. `perdure status` is asked
for often, also beside a training that uses all cores: its plain forms are read without building a parser, which costs
more than the answer.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import typer

from perdure.cli.app import SETTINGS, app, fail, outcome
from perdure.errors import StorageError

__all__ = ["COMMANDS", "application", "main"]
_MODULES = {  # module of this package -> its commands, in the order of the help
    "runs.init": ("init",),
    "runs.start": ("run",),
    "runs.status": ("status",),
    "runs.process": ("logs", "stop"),
    "runs.prove": ("prove",),
    "runs.ui": ("ui",),
    "records.keep": ("backup", "backups", "restore", "reset", "clean"),
    "records.verify": ("verify", "digest", "why"),
    "records.tables": ("history", "export", "sql"),
    "records.report": ("report",),
    "models.pipelines": ("predict",),
    "models.deploy": ("promote", "rollback", "explain", "serve"),
    "records.doctor": ("doctor",),
}
COMMANDS = {command: module for module, commands in _MODULES.items() for command in commands}


def application(only: str | None = None) -> typer.Typer:
    """The application with all commands, or with one of them."""
    names = list(COMMANDS) if only is None else [only]
    for name in names:
        importlib.import_module(f"perdure.cli.{COMMANDS[name]}")
    chosen = typer.Typer(**{**SETTINGS, "add_completion": only is None})
    chosen.callback()(lambda: None)  # one command alone would lose its name
    by_name = {command.name: command for command in app.registered_commands}
    chosen.registered_commands = [by_name[name] for name in names]
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the `perdure` script; ends the process with the command's exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["status"]:
        _answer_plain_status(words[1:])
    only = words[0] if words and words[0] in COMMANDS else None
    import typer.main

    try:
        typer.main.get_command(application(only))(args=words, prog_name="perdure")
    except OSError as error:
        if "--install-completion" not in words:
            raise
        what = f"cannot install completion: {error}; `perdure --show-completion` prints it for a file of your own"
        sys.exit(fail(StorageError(what), as_json=False))


def _answer_plain_status(words: list[str]) -> None:
    """`status [RUN] [--json]`, and nothing else: ends the process."""
    places = [word for word in words if word != "--json"]
    if len(places) > 1 or any(place.startswith("-") for place in places):
        return
    from perdure.cli.runs.status import answer_status

    sys.exit(outcome(answer_status, places[0] if places else None, as_json="--json" in words))
