"""`perdure init`: a script to start from."""

from __future__ import annotations

import re
import shlex
from importlib.resources import files as resources
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.app import AsJson, command, emit, say
from perdure.errors import UsageError

KINDS = {
    "numpy": "perdure",
    "keras": "perdure[keras]",
    "lightgbm": "perdure[boosting]",
}  # kind -> what it needs


def _offered(incomplete: str) -> list[str]:
    """For completion in a shell."""
    return [kind for kind in KINDS if kind.startswith(incomplete)]


@command("init")
def init(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND", help=f"What it trains with: {', '.join(KINDS)}.", autocompletion=_offered
        ),
    ] = "numpy",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The script to write; never overwritten.")
    ] = Path("train.py"),
    as_json: AsJson = False,
) -> int:
    """Write a starter script that resumes.

    It trains something small with made-up data, with comments that say what each line is for; put your own data and
    model in their place. Its run is the folder runs/NAME beside it.
    """
    if kind not in KINDS:
        raise UsageError(f"there is no starter {kind!r}; there are: {', '.join(KINDS)}")
    path = output.absolute()
    if not re.fullmatch(r"[\w.-]+\.py", path.name):
        raise UsageError(f"{path.name!r} cannot name a script; use letters and digits, and .py at the end")
    if path.stem in {*KINDS, "perdure"}:
        raise UsageError(
            f"a script that is called {path.name} hides the library of that name; use another name"
        )
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} is there already; name another file with --output")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} into")
    _publish(path, starter(kind, name=path.name))
    if as_json:
        emit({"kind": kind, "file": str(path), "needs": KINDS[kind]})
    else:
        say(
            f"wrote {output}; it needs `pip install '{KINDS[kind]}'`",
            f"start it:   perdure run {shlex.quote(str(output))}",
            f"watch it:   perdure status{_run_of(path)} --watch",
            "kill it with Ctrl+C or kill -9, and start it again: it goes on, and ends with the same bits",
        )
    return 0


def starter(kind: str, *, name: str) -> str:
    """The text of a starter script that is called `name`."""
    text = (resources("perdure.cli.runs") / "starters" / f"{kind}.txt").read_text(encoding="utf-8")
    return text.replace("train.py", name).replace("runs/train", f"runs/{name.removesuffix('.py')}")


def _run_of(script: Path) -> str:
    """What names the script's run to a command of the current folder; nothing where it is found by itself."""
    return "" if script.parent == Path.cwd() else f" {shlex.quote(str(script.parent / 'runs' / script.stem))}"


def _publish(path: Path, text: str) -> None:
    from perdure import files

    files.publish(path, [text.encode()], kind="export")
