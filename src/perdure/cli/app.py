"""What all commands share: the application, how a command fails, where it finds its run, how it prints.

A command is a function that returns its exit code. An error that perdure raises on purpose becomes one message and
its exit code, never a traceback. With `--json` standard output holds exactly one JSON document, errors too.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from perdure.cli.links import help_for
from perdure.console import printable
from perdure.errors import DamagedError, PerdureError, StorageError, UsageError
from perdure.holding import is_held as is_held  # commands find here what all of them share
from perdure.reading import is_run
from perdure.reading import reading as reading

SETTINGS: dict[str, Any] = {
    "help": "Make long training runs unbreakable: rerun the same command, get the very same bits.",
    "epilog": (
        "Exit codes: 0 complete; 1 error; 2 usage; 3 complete with failed units; 73 the fingerprint differs; "
        "74 I/O error or disk full (what was saved is intact); 75 another process holds the run; 129 hang-up, "
        "130 Ctrl+C, 143 SIGTERM (all saved)."
    ),
    "no_args_is_help": True,
    "add_completion": False,  # but with all commands together
    "rich_markup_mode": None,  # plain help is drawn in a fifth of the time
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"], "max_content_width": 100},
}
app = typer.Typer(**SETTINGS)  # modules register their commands here


def offered_runs(incomplete: str) -> list[str]:
    """For completion in a shell: runs under `runs/`, by name or by folder."""
    from perdure.reading import is_run

    found = sorted(path.name for path in Path("runs").glob("*") if path.is_dir() and is_run(path))
    names = [*found, *(f"runs/{name}" for name in found)] if "/" in incomplete else found
    return [name for name in names if name.startswith(incomplete)]


RunArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN", help="A run's folder, or its name under runs/; by default the only one there.",
        autocompletion=offered_runs,
    ),
]  # fmt: skip
GivenRun = Annotated[
    str,
    typer.Argument(
        metavar="RUN", help="A run's folder, or its name under runs/.", autocompletion=offered_runs
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def command(name: str, **options: Any) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Register a command, and turn what it raises into a message and an exit code."""

    def register(function: Callable[..., int | None]) -> Callable[..., None]:
        @functools.wraps(function)
        def guarded(*positional: Any, **named: Any) -> None:
            raise typer.Exit(outcome(function, *positional, **named))

        app.command(name, **options)(guarded)
        return guarded

    return register


def outcome(function: Callable[..., int | None], *positional: Any, **named: Any) -> int:
    """The exit code of a command; what it raises on purpose becomes a message."""
    as_json = bool(named.get("as_json"))
    try:
        return function(*positional, **named) or 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `perdure logs | head`: whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except PerdureError as error:
        return fail(error, as_json=as_json)
    except sqlite3.Error as error:
        problem = f"the database cannot be understood ({error}); run `perdure verify`"
        return fail(DamagedError(problem), as_json=as_json)


def fail(error: PerdureError, *, as_json: bool) -> int:
    """One message and where to read more; with `--json` also a document on standard output. Returns the exit code."""
    address = help_for(error)
    more = f"\n  see {address}" if address else ""
    print(f"perdure: error: {printable(error)}{more}", file=sys.stderr, flush=True)
    if as_json:
        named = {"error": str(error), "kind": type(error).__name__, "exit_code": error.exit_code}
        emit(named | {"help": address})
    return error.exit_code


def emit(document: object) -> None:
    """One JSON document; control characters are escaped by the format itself."""
    print(json.dumps(document, indent=2, default=_plain), flush=True)


def _plain(value: object) -> object:
    return value.hex() if isinstance(value, bytes) else str(value)


def say(*lines: object) -> None:
    """Lines for people."""
    for line in lines:
        print(printable(line))


# -- finding a run -----------------------------------------------------------------------------------------------


def run_folder(given: str | None) -> Path:
    """The folder of the run that a command means. Raises UsageError."""
    if given is not None:
        return _named(given)
    found = runs()
    if len(found) == 1:
        return found[0]
    place = Path("runs").absolute()
    if not found:
        raise UsageError(
            f"there is no run under {place}; name a run's folder, or start one with `perdure run`"
        )
    listed = "".join(f"\n  {path.relative_to(Path.cwd())}" for path in found)
    raise UsageError(f"there are {len(found)} runs under {place}; say which one:{listed}")


def runs() -> list[Path]:
    """Folders under `runs/` of the current folder that hold a run."""
    return sorted(path for path in Path("runs").absolute().glob("*") if path.is_dir() and is_run(path))


def _named(given: str) -> Path:
    folder = Path(given).expanduser().absolute()
    if not folder.exists() and "/" not in given and (Path("runs") / given).is_dir():
        folder = (Path("runs") / given).absolute()
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; name the folder of a run")
    try:
        if not is_run(folder) and any(folder.iterdir()):
            raise UsageError(
                f"{folder} does not hold a run (there is no run.db in it); name the folder of a run"
            )
    except OSError as error:
        raise StorageError(f"cannot read {folder}: {error.strerror}; check its owner and mode") from error
    return folder


@contextmanager
def recorded(folder: Path) -> Iterator[Any]:
    """As `reading`, for commands that make no sense before something was recorded."""
    with reading(folder) as reader:
        if reader is None:
            raise UsageError(f"nothing was recorded in {folder} yet; start it with `perdure run`")
        yield reader


# -- printing ----------------------------------------------------------------------------------------------------


def table(names: Sequence[str], rows: Sequence[Sequence[object]], *, width: int | None = None) -> str:
    """Rows under their names, numbers to the right; the widest column gives way where `width` is too small."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name), *(len(row[i]) for row in cells)]) for i, name in enumerate(names)]
    while width is not None and sum(widths) + 2 * (len(widths) - 1) > width and max(widths) > 8:
        widths[widths.index(max(widths))] -= 1
    right = [
        all(isinstance(row[i], int | float) or row[i] is None for row in rows) for i in range(len(names))
    ]
    lines = [_line(names, widths, right)]
    return "\n".join([*lines, *(_line(row, widths, right) for row in cells)])


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    shown = [
        cell if len(cell) <= size else f"{cell[: size - 1]}…"
        for cell, size in zip(cells, widths, strict=True)
    ]
    placed = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(shown, widths, right, strict=True)]
    return "  ".join(placed).rstrip()


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(value.hex() if isinstance(value, bytes) else value).replace("\n", "\\n")


def terminal_width() -> int | None:
    """Columns of the terminal; None where the output goes elsewhere and needs no fitting."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else None


def size_of(count: int) -> str:
    """Bytes as people say them."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} B"


def time_of(seconds: float) -> str:
    """A moment in local time."""
    from datetime import datetime

    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(sep=" ", timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "at no time"  # of a damaged record
