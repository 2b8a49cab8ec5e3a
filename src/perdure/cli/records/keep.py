"""`perdure backup`, `backups`, `restore`, `reset` and `clean`: copies of a run, and what to let go of."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli.app import (
    AsJson,
    GivenRun,
    RunArgument,
    command,
    emit,
    reading,
    recorded,
    run_folder,
    say,
    size_of,
    table,
    terminal_width,
    time_of,
)
from perdure.console import counted
from perdure.errors import DamagedError
from perdure.holding import held

if TYPE_CHECKING:
    from perdure.store.archive import Backup


def _described(backup: Backup | None) -> str:
    if backup is None:
        return "there was nothing to back up"
    return f"{backup.name} ({counted(backup.files, 'file')}, {size_of(backup.size)})"


@command("backup")
def backup(run: RunArgument = None, as_json: AsJson = False) -> int:
    """Copy a run aside, into its folder backups/.

    Copied are the database, snapshots, results and exports. The run must not be running (exit code 75). The
    cache of raw data and run.log are left out.
    """
    from perdure.store import archive

    folder = run_folder(run)
    with recorded(folder):
        pass  # nothing to copy, or a newer format: refused before anything is touched
    with held(folder) as now:
        made = archive.create(folder, now=now, why="backup")
    emit(asdict(made)) if as_json else say(f"backup {_described(made)} is in {folder / 'backups'}")
    return 0


@command("backups")
def backups(run: RunArgument = None, as_json: AsJson = False) -> int:
    """List the backups of a run, oldest first."""
    from perdure.store import archive

    found, refused = archive.backups(run_folder(run))
    if as_json:
        emit({"backups": [asdict(one) for one in found], "unreadable": refused})
        return 0
    rows = [[one.name, time_of(one.at), one.why, one.files, size_of(one.size)] for one in found]
    print(
        table(("backup", "made", "by", "files", "size"), rows, width=terminal_width())
        if rows
        else "no backups"
    )
    say(*refused)
    return 0


@command("restore")
def restore(
    run: GivenRun,
    backup: Annotated[str, typer.Argument(metavar="BACKUP", help="A name that `perdure backups` lists.")],
    as_json: AsJson = False,
) -> int:
    """Go back to a backup. The present state is backed up first.

    Only regular files that the backup's manifest names are taken, each with its size and digest, and only when
    all of them are right does anything change.
    """
    from perdure.store import archive

    folder = run_folder(run)
    archive.locate(folder, backup)
    try:
        with reading(folder):
            pass  # a newer format is refused before anything is touched
    except DamagedError:
        pass  # what a backup is for
    with held(folder) as now:
        chosen, before = archive.restore(folder, backup, now=now)
    if as_json:
        emit({"restored": asdict(chosen), "before": asdict(before) if before else None})
    else:
        say(f"restored {_described(chosen)}", f"the state before is backup {_described(before)}")
    return 0


@command("reset")
def reset(
    run: RunArgument = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove the cache and data tables too.")] = False,
    as_json: AsJson = False,
) -> int:
    """Start over after a backup; data stays.

    The cache and tables that a phase declares as data stay, and the next run finds their units done. With --all
    everything goes but the backups.
    """
    from perdure.store import archive

    folder = run_folder(run)
    with recorded(folder):
        pass
    with held(folder) as now:
        before = archive.reset(folder, now=now, everything=everything)
    if as_json:
        emit({"run": str(folder), "backup": asdict(before) if before else None})
    else:
        say(f"{folder} starts over; the state before is backup {_described(before)}")
    return 0


@command("clean")
def clean(run: RunArgument = None, as_json: AsJson = False) -> int:
    """After completion: remove all but results. A rerun still says complete.

    Stay: the database, the final snapshot of each loop, recorded results, exports/, run.log, backups/. Go:
    earlier snapshots, files that no result names, cache/. A run that is not completed, or not whole, is refused.
    """
    from perdure.clock import SystemClock
    from perdure.examination import examine
    from perdure.results import blobs_of
    from perdure.store import Store, garbage

    folder = run_folder(run)
    with recorded(folder) as reader:
        wrong = examine(folder, reader).findings
    if wrong:
        raise DamagedError(
            f"{folder} is not whole ({wrong[0].subject}: {wrong[0].problem}), and clean removes what could mend it; "
            f"run `perdure verify --repair {folder}` first"
        )
    store = Store.maintain(folder, clock=SystemClock())
    try:
        cleaned = garbage.clean(store, blobs_of=blobs_of)
    finally:
        store.close()
    if as_json:
        emit({"run": str(folder), "files": cleaned.files, "bytes": cleaned.size})
    else:
        say(f"removed {counted(cleaned.files, 'file')} ({size_of(cleaned.size)}) from {folder}")
    return 0
