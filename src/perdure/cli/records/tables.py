"""`perdure history`, `export` and `sql`: what a run recorded, as tables, files and answers."""

from __future__ import annotations

import csv
import io
import itertools
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from perdure.cli.app import (
    AsJson,
    GivenRun,
    RunArgument,
    command,
    emit,
    recorded,
    run_folder,
    say,
    table,
    terminal_width,
)
from perdure.cli.records.target import target
from perdure.errors import DamagedError, StorageError, UsageError

if TYPE_CHECKING:
    from perdure.store.database import Reader

_FORMATS = (".csv", ".parquet", ".sqlite", ".db")
_OWN = ("attempts", "phases", "units", "snapshots", "journal", "blobs")  # tables of ours that can be exported


@dataclass(frozen=True, slots=True)
class _Frame:
    """A table in memory."""

    names: list[str]
    rows: list[tuple[object, ...]]


# -- history -----------------------------------------------------------------------------------------------------


@command("history")
def history(
    run: RunArgument = None,
    loop: Annotated[str | None, typer.Option(metavar="NAME", help="One loop; by default all.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw the curves into a .png, .svg or .pdf file.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Show what loops logged, across all attempts.

    Entries since the last save are shown too. In a plot, dashed lines mark where another attempt went on.
    """
    folder = run_folder(run)
    with recorded(folder) as reader:
        known = [row["loop"] for row in reader.rows("SELECT DISTINCT loop FROM history ORDER BY loop")]
        if loop is not None and loop not in known:
            raise UsageError(f"no history of {loop!r} in {folder}; there is: {', '.join(known) or 'none'}")
        found = {name: _entries(reader, name) for name in known if loop in (None, name)}
    if plot is not None:
        _plot(found, plot)
    if as_json:
        emit({"run": str(folder), "loops": found})
        return 0
    for name, entries in found.items():
        frame = _flat(entries)
        shown = [i for i, column in enumerate(frame.names) if column != "at"]
        say(f"{name}:")
        rows = [[row[i] for i in shown] for row in frame.rows]
        print(table([frame.names[i] for i in shown], rows, width=terminal_width()))
    if not found:
        say("nothing was logged")
    return 0


def _entries(reader: Reader, loop: str) -> list[dict[str, Any]]:
    from perdure.store.database import parsed

    rows = reader.rows(
        "SELECT position, attempt, at, entry FROM history WHERE loop = ? ORDER BY seq", (loop,)
    )
    return [
        {"position": row["position"], "attempt": row["attempt"], "at": row["at"], **parsed(row["entry"])}
        for row in rows
    ]


def _flat(entries: Iterable[dict[str, Any]]) -> _Frame:
    """One column for each name that was ever logged."""
    entries = list(entries)
    names = list(dict.fromkeys(name for entry in entries for name in entry))
    return _Frame(names, [tuple(entry.get(name) for name in names) for entry in entries])


def _plot(found: dict[str, list[dict[str, Any]]], path: Path) -> None:
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise UsageError("--plot needs matplotlib, which is not installed: pip install matplotlib") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    curves = [(loop, name) for loop, entries in found.items() for name in _numeric(entries)]
    if not curves:
        raise UsageError("there are no numbers in the history that could be drawn")
    figure, axes = pyplot.subplots(len(curves), 1, figsize=(9, 2.6 * len(curves)), squeeze=False)
    for axis, (loop, name) in zip(axes[:, 0], curves, strict=True):
        entries = [entry for entry in found[loop] if name in entry]
        axis.plot([entry["position"] for entry in entries], [entry[name] for entry in entries], lw=1.4)
        for before, after in itertools.pairwise(entries):
            if before["attempt"] != after["attempt"]:
                axis.axvline((before["position"] + after["position"]) / 2, color="0.5", ls="--", lw=0.8)
        axis.set(xlabel="position", ylabel=name, title=loop)
        axis.grid(alpha=0.3)
    figure.tight_layout()
    try:
        figure.savefig(target(path))
    except ValueError as error:
        raise UsageError(f"cannot draw into {path}: {error}") from error
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    finally:
        pyplot.close(figure)


def _numeric(entries: Sequence[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(
        name for entry in entries for name in entry if name not in {"position", "attempt", "at"}
    )
    return [n for n in names if all(isinstance(e.get(n, 0), int | float) for e in entries)]


# -- export ------------------------------------------------------------------------------------------------------


@command("export")
def export(
    run: GivenRun,
    name: Annotated[str, typer.Argument(metavar="TABLE", help="A table of the run, or history, or units.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file to write: .csv, .parquet or .sqlite.")
    ],
    as_json: AsJson = False,
) -> int:
    """Write a table to a CSV, Parquet or SQLite file.

    Works while the run goes on. TABLE is one of the user's own tables, or history (a column for each logged
    name), units, phases, attempts, snapshots, journal, blobs.
    """
    if file.suffix not in _FORMATS:
        raise UsageError(f"{file} has no ending that tells the format; use {', '.join(_FORMATS)}")
    folder = run_folder(run)
    with recorded(folder) as reader, reader.transaction():
        frame = _frame(reader, name, folder)
    if file.suffix == ".csv":
        _publish(file, _csv(frame))
    elif file.suffix == ".parquet":
        _publish(file, _parquet(frame, name))
    else:
        _write_sqlite(file, name, frame)
    if as_json:
        emit({"table": name, "file": str(file), "rows": len(frame.rows), "columns": frame.names})
    else:
        say(f"wrote {len(frame.rows)} rows of {name} to {file}")
    return 0


def _frame(reader: Reader, name: str, folder: Path) -> _Frame:
    from perdure.store.database import quoted

    if name == "history":
        loops = [row["loop"] for row in reader.rows("SELECT DISTINCT loop FROM history ORDER BY loop")]
        return _flat({"loop": loop, **entry} for loop in loops for entry in _entries(reader, loop))
    own = [row["name"] for row in reader.rows("SELECT name FROM user_tables ORDER BY name")]
    if name in own:
        sql = f"SELECT * FROM {quoted(name)} ORDER BY _phase, _position, _row"  # noqa: S608 - quoted
    elif name in _OWN:
        sql = f"SELECT * FROM {quoted(name)}"  # noqa: S608 - one of ours
    else:
        raise UsageError(f"{folder} has no table {name!r}; there are: {', '.join([*own, 'history', *_OWN])}")
    return _Frame(*reader.query(sql))


def _publish(path: Path, content: bytes) -> None:
    from perdure import files

    files.publish(target(path), [content], kind="export")


def _csv(frame: _Frame) -> bytes:
    """Numbers in full precision; bytes in hexadecimal; NULL as nothing."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream)
    writer.writerow(frame.names)
    for row in frame.rows:
        writer.writerow([cell.hex() if isinstance(cell, bytes) else cell for cell in row])
    return stream.getvalue().encode()


def _parquet(frame: _Frame, name: str) -> bytes:
    try:
        import pyarrow as arrow
        import pyarrow.parquet as parquet
    except ModuleNotFoundError as error:
        raise UsageError("Parquet files need pyarrow: pip install 'perdure[tables]'") from error
    try:
        columns = [arrow.array([row[i] for row in frame.rows]) for i in range(len(frame.names))]
    except (arrow.ArrowInvalid, arrow.ArrowTypeError) as error:
        raise UsageError(
            f"{name} holds a column of mixed types ({error}); export it as .csv or .sqlite"
        ) from error
    sink = arrow.BufferOutputStream()
    parquet.write_table(arrow.table(columns, names=frame.names), sink, compression="zstd")
    return bytes(sink.getvalue())


def _write_sqlite(path: Path, name: str, frame: _Frame) -> None:
    """A database of one table, complete before it takes its place."""
    from perdure.store.database import quoted

    connection = sqlite3.connect(":memory:")
    try:
        names = ", ".join(quoted(column) for column in frame.names)
        connection.execute(f"CREATE TABLE {quoted(name)} ({names})")
        marks = ", ".join("?" * len(frame.names))
        connection.executemany(f"INSERT INTO {quoted(name)} VALUES ({marks})", frame.rows)  # noqa: S608 - quoted
        connection.commit()
        _publish(path, connection.serialize())
    finally:
        connection.close()


# -- sql ---------------------------------------------------------------------------------------------------------


@command("sql")
def sql(
    run: GivenRun,
    query: Annotated[
        str, typer.Argument(metavar="SELECT", help='For example "select count(*) from samples".')
    ],
    as_json: AsJson = False,
) -> int:
    """Ask a run's database; nothing can be changed. Works while the run goes on.

    A mistake in the query ends with SQLite's message and exit code 2.
    """
    folder = run_folder(run)
    with recorded(folder) as reader:
        try:
            frame = _Frame(*reader.query(query))
        except (sqlite3.Error, sqlite3.Warning) as error:
            code = getattr(error, "sqlite_errorcode", None) or 0
            if code & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise DamagedError(
                    f"{folder} has a damaged database ({error}); run `perdure verify`"
                ) from error
            raise UsageError(f"SQLite: {error}") from error
    if as_json:
        emit([dict(zip(frame.names, row, strict=True)) for row in frame.rows])
    elif frame.names:
        print(table(frame.names, frame.rows, width=terminal_width()))
    return 0
