"""`perdure doctor`: is this machine and this disk fit for a run?"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from perdure.cli.app import AsJson, RunArgument, command, emit, reading, run_folder, runs, say, size_of
from perdure.cli.records import machine
from perdure.cli.records.machine import Answer
from perdure.errors import PerdureError

if TYPE_CHECKING:
    from perdure.forecast import Removable
    from perdure.store.database import Reader

_Answer = TypeVar("_Answer")
_SHOWN = 8  # removable things


@command("doctor")
def doctor(run: RunArgument = None, as_json: AsJson = False) -> int:
    """Check whether disk and machine are fit for a run.

    Looked at: the kind of file system, the cost and honesty of a sync, locks and who holds the run, free space
    against what the whole run will still need, clocks, memory, versions. What could be deleted is listed with its
    size. A run is never modified; without RUN the current folder is looked at. Exit code 1 when there is a problem.
    """
    known = runs()
    folder = run_folder(run) if run is not None or len(known) == 1 else Path.cwd()
    place = folder.parent if folder in known or run is not None else folder
    answers = [
        machine.file_system(place), *machine.disk(place), *_holder(folder), _space(folder), _clock(folder),
        machine.memory_now(), *machine.versions(_installed), machine.sqlite_now(),
    ]  # fmt: skip
    removable = _removable(folder)
    if as_json:
        emit(
            {
                "folder": str(folder), "checks": [asdict(answer) for answer in answers],
                "removable": [asdict(one) for one in removable],
            }
        )  # fmt: skip
    else:
        say(*[f"{answer.level:<8} {answer.name:<12} {answer.text}" for answer in answers])
        say(*[f"can go   {size_of(one.size):>12} {one.path}: {one.how}" for one in removable[:_SHOWN]])
    return 1 if any(answer.level == "problem" for answer in answers) else 0


def _recorded(folder: Path, ask: Callable[[Reader | None], _Answer]) -> _Answer:
    """Ask the run's database, or None where there is none that could be read."""
    try:
        with reading(folder) as reader:
            return ask(reader)
    except (PerdureError, sqlite3.Error):
        return ask(None)


def _holder(folder: Path) -> Iterator[Answer]:
    from perdure.store.lock import read_holder

    holder = read_holder(folder / "lock")
    if holder is None:
        return
    if holder.is_alive():
        yield Answer("holder", "ok", f"{holder} holds the run")
    else:
        yield Answer("holder", "ok", f"nobody holds the run; the last was {holder}")


def _space(folder: Path) -> Answer:
    """Free space against the next saves, which must fit, and against all that the run will still write."""
    from perdure import files
    from perdure.forecast import need_of
    from perdure.store.store import SMALLEST_FREE

    free = files.free_bytes(folder)
    try:
        with reading(folder) as reader:
            need = need_of(reader) if reader is not None else None
    except (PerdureError, sqlite3.Error) as error:
        return Answer("space", "warning", f"{size_of(free)} free; what is needed cannot be told: {error}")
    if need is None:
        level = "ok" if free >= 2 * SMALLEST_FREE else "problem"
        return Answer(
            "space", level, f"{size_of(free)} free; nothing is recorded yet to tell what a run needs"
        )
    parts = {"snapshots": need.snapshots, "results": need.blobs, "database": need.database}
    text = (
        f"{size_of(free)} free; the next saves need {size_of(need.next_saves)}, the run to its end "
        f"{size_of(need.total)} ({', '.join(f'{name} {size_of(size)}' for name, size in parts.items())})"
    )
    if need.unknown:
        text += f", without {', '.join(need.unknown)}, of which nothing is known yet"
    return Answer(
        "space", "problem" if free < need.next_saves else "warning" if free < need.total else "ok", text
    )


def _clock(folder: Path) -> Answer:
    def last(reader: Reader | None) -> float:
        return float(reader.rows("SELECT coalesce(max(at), 0) FROM journal")[0][0]) if reader else 0.0

    return machine.clock(time.time(), _recorded(folder, last))


def _removable(folder: Path) -> list[Removable]:
    from perdure.forecast import removable
    from perdure.store.check import is_completed

    if not any((folder / name).exists() for name in ("run.db", "run.db.backup")):
        return []
    return _recorded(
        folder, lambda reader: removable(folder, reader, is_completed=bool(reader and is_completed(reader)))
    )


def _installed(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    for name in (package, f"{package}-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None
