"""Does a run's folder hold what its database says, and the database what it said before?

Every row is compared with its file and every file with its rows. A finding is something lost or altered. A leftover
is a file that counts for nothing (an attempt died before its row was written): it harms nobody.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from perdure import files
from perdure.errors import DamagedError, StorageError
from perdure.store import backup
from perdure.store.database import DATABASE, Database, Reader, Row, parsed, quoted
from perdure.store.generations import SUFFIX, Generation, path_of
from perdure.store.schema import damaged_record, is_whole
from perdure.store.tables import Tables

_BLOB = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]+)?")
BlobsOf = Callable[
    [str], list[tuple[str, str]]
]  # digest and suffix of each file that a result's document names
IsWhole = Callable[[Path, Generation], bool]  # whether a snapshot's file holds what its row says
_Look = Callable[[Path, Reader], Iterator["Finding | None"]]
DAMAGED = ".damaged-"  # what `files.set_aside` puts behind a name


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong."""

    kind: str  # 'database', 'backup', 'snapshot', 'loop', 'history', 'unit', 'blob', 'rows' or 'export'
    subject: str  # a loop, a phase, a table or a file
    problem: str
    key: str = ""  # of the unit
    number: int = 0  # of the generation
    file: str = ""  # the damaged file, relative to the run's folder


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check looked at and what it found."""

    findings: tuple[Finding, ...]
    leftovers: tuple[Path, ...]
    counts: dict[str, int]  # kind -> how many were compared


def check(folder: Path, reader: Reader, *, blobs_of: BlobsOf, is_whole: IsWhole) -> Checked:
    """Compare a run's rows with its files, both ways.

    `blobs_of` reads the documents of results, `is_whole` the files of snapshots.
    """
    counts: dict[str, int] = {}
    findings: list[Finding] = []
    looks: tuple[tuple[str, _Look], ...] = (
        ("database", _database),
        ("backup", _rolling_backup),
        ("snapshot", partial(_snapshots, is_whole=is_whole)),
        ("loop", _loops),
        ("history", _history),
        ("unit", _units),
        ("rows", _rows),
        ("blob", partial(_blobs, blobs_of=blobs_of)),
    )
    for kind, look in looks:
        found = list(look(folder, reader))
        findings += [finding for finding in found if isinstance(finding, Finding)]
        counts[kind] = sum(1 for finding in found if finding is None)
    for finding in findings:
        counts[finding.kind] = counts.get(finding.kind, 0) + 1
    return Checked(tuple(findings), tuple(leftovers(folder, reader)), counts)


def _found(
    problem: str | None, kind: str, subject: str, *, key: str = "", number: int = 0, file: str = ""
) -> Finding | None:
    return Finding(kind, subject, problem, key, number, file) if problem else None


def _database(folder: Path, reader: Reader) -> Iterator[Finding | None]:
    lines = [str(row[0]) for row in reader.rows("PRAGMA integrity_check(20)")]
    if lines == ["ok"]:
        lines = [problem] if (problem := damaged_record(reader)) else []
    if not lines:
        yield None
    else:
        yield from (Finding("database", reader.path.name, line) for line in lines)


def _rolling_backup(folder: Path, reader: Reader) -> Iterator[Finding | None]:
    path = folder / backup.NAME
    if path.exists():
        yield None if is_whole(path) else Finding("backup", path.name, "is unreadable")
        if reader.path.name == DATABASE and backup.is_behind(reader):
            yield Finding(
                "database", DATABASE, f"is older than {path.name}: an older copy, or its log was lost"
            )


def _snapshots(folder: Path, reader: Reader, *, is_whole: IsWhole) -> Iterator[Finding | None]:
    for row in reader.rows("SELECT * FROM snapshots WHERE state = 'kept' ORDER BY loop, generation"):
        path = path_of(folder, row["loop"], row["generation"])
        problem = _file_problem(path, row["size"], partial(_holds, path, row, is_whole))
        yield _found(problem, "snapshot", row["loop"], number=row["generation"])


def _holds(path: Path, row: Row, is_whole: IsWhole) -> bool:
    return is_whole(path, Generation.of(row))


def _file_problem(path: Path, size: int, as_recorded: Callable[[], bool]) -> str | None:
    place = f"{path.parent.name}/{path.name}"
    try:
        if not path.is_file():
            return f"{place} is missing"
        if (found := path.stat().st_size) != size:
            return f"{place} has {found} bytes, and its row says {size}"
        return None if as_recorded() else f"{place} does not match its digest"
    except DamagedError:
        return f"{place} has a damaged row"
    except (OSError, StorageError) as error:
        return f"{place} cannot be read ({error})"


def _is_named_rightly(path: Path) -> bool:
    return files.digest(path) == path.name.partition(".")[0]


def _loops(folder: Path, reader: Reader) -> Iterator[Finding | None]:
    """A loop that is complete has a final snapshot: what it ended with."""
    rows = reader.rows(
        "SELECT path, (SELECT final FROM snapshots WHERE loop = path AND state = 'kept' "
        "ORDER BY generation DESC LIMIT 1) AS final FROM phases WHERE kind = 'range' AND state = 'completed'"
    )
    for row in rows:
        yield _found(None if row["final"] else "its final snapshot is lost", "loop", row["path"])


def _history(folder: Path, reader: Reader) -> Iterator[Finding | None]:
    """Entries and rows of a loop must be there up to its newest generation."""
    tables = [row["name"] for row in reader.rows("SELECT name FROM user_tables")]
    newest = reader.rows(
        "SELECT loop, max(generation), logged, inserted FROM snapshots WHERE state = 'kept' GROUP BY loop"
    )
    for row in newest:
        loop = row["loop"]
        logged = _count(
            reader, "SELECT count(*) FROM history WHERE loop = ? AND seq < ?", loop, row["logged"]
        )
        if logged != row["logged"]:
            yield Finding("history", loop, f"{row['logged'] - logged} of {row['logged']} entries are missing")
        inserted = sum(
            _count(reader, f"SELECT count(*) FROM {quoted(name)} WHERE _phase = ?", loop)  # noqa: S608 - quoted
            for name in tables
        )
        if inserted != row["inserted"]:
            yield Finding(
                "rows", loop, f"has {inserted} rows in tables, and its snapshot says {row['inserted']}"
            )
        yield None


def _count(reader: Reader, sql: str, *values: object) -> int:
    row = reader.row(sql, values)
    return int(row[0]) if row else 0


def _units(folder: Path, reader: Reader) -> Iterator[Finding | None]:
    rows = reader.rows(
        "SELECT phase, key, document, digest FROM units WHERE state = 'done' ORDER BY phase, position"
    )
    for row in rows:
        problem = None
        if hashlib.sha256((row["document"] or "").encode()).hexdigest() != row["digest"]:
            problem = "its recorded result does not match its digest"
        yield _found(problem, "unit", row["phase"], key=row["key"])


def _blobs(folder: Path, reader: Reader, *, blobs_of: BlobsOf) -> Iterator[Finding | None]:
    """Files that results refer to; each is read once, however many results name it."""
    sizes = {row["digest"]: row["size"] for row in reader.rows("SELECT digest, size FROM blobs")}
    problems: dict[str, str | None] = {}
    for phase, key, digest, suffix in references(reader, blobs_of):
        if digest not in problems:
            path = folder / "blobs" / f"{digest}{suffix}"
            known = sizes.get(digest)
            problems[digest] = (
                f"{digest[:12]}{suffix} has no row"
                if known is None
                else _file_problem(path, known, partial(_is_named_rightly, path))
            )
        problem = problems[digest]
        yield _found(problem, "blob", phase, key=key, file=f"blobs/{digest}{suffix}")


def references(reader: Reader, blobs_of: BlobsOf) -> Iterator[tuple[str, str, str, str]]:
    """Phase, key, digest and suffix of each file that a recorded result names."""
    rows = reader.rows(
        "SELECT phase, key, document FROM units WHERE state = 'done' AND document LIKE '%\"blob\"%'"
    )
    for row in rows:
        try:
            named = blobs_of(row["document"])
        except ValueError:
            continue  # a document that is no JSON fails its digest: it is reported as a unit
        for digest, suffix in named:
            yield row["phase"], row["key"], digest, suffix


def _rows(folder: Path, reader: Reader) -> Iterator[Finding | None]:
    tables = Tables(cast(Database, reader))  # it only reads here
    for row in reader.rows(
        "SELECT r.*, p.kind FROM user_rows r LEFT JOIN units u ON u.phase = r.phase AND u.key = r.key "
        "LEFT JOIN phases p ON p.path = r.phase WHERE coalesce(u.state, 'done') != 'redo' "
        "ORDER BY r.name, r.phase, r.position"
    ):
        problem = (
            None
            if tables.digest_again(row) == row["digest"]
            else f"rows in table {row['name']!r} do not match their digest"
        )
        yield _found(problem, "rows", row["phase"], key="" if row["kind"] == "range" else row["key"])


def leftovers(folder: Path, reader: Reader) -> Iterator[Path]:
    """Files that no row names: half-written ones, and those whose attempt died before it recorded them."""
    kept = {
        path_of(folder, row["loop"], row["generation"])
        for row in reader.rows("SELECT loop, generation FROM snapshots WHERE state = 'kept'")
    }
    blobs = {f"{row['digest']}{row['suffix']}" for row in reader.rows("SELECT digest, suffix FROM blobs")}
    for path in _files(folder):
        part = path.relative_to(folder).parts[0]
        if (
            path.name.endswith(files.TEMPORARY)
            or (part == "snapshots" and path.suffix == SUFFIX and path not in kept)
            or (part == "blobs" and _BLOB.fullmatch(path.name) and path.name not in blobs)
        ):
            yield path


def set_aside(folder: Path) -> list[Path]:
    """Damaged files that were kept when something stood in for them."""
    return [path for path in _files(folder) if DAMAGED in path.name]


def _files(folder: Path) -> Iterator[Path]:
    for base, names, found in os.walk(folder):
        if Path(base) == folder:
            names[:] = [name for name in names if name not in {"backups", "cache"}]
        names.sort()
        yield from (Path(base, name) for name in sorted(found))


def unreferenced(reader: Reader, *, blobs_of: BlobsOf) -> list[tuple[str, str]]:
    """Digest and suffix of blobs that no recorded result names any more."""
    named = {digest for _, _, digest, _ in references(reader, blobs_of)}
    rows = reader.rows("SELECT digest, suffix FROM blobs ORDER BY digest")
    return [(row["digest"], row["suffix"]) for row in rows if row["digest"] not in named]


def is_completed(reader: Reader) -> bool:
    """Whether the last attempt ended well and no phase is open."""
    last = reader.row("SELECT outcome FROM attempts ORDER BY id DESC LIMIT 1")
    open_phase = reader.row("SELECT 1 FROM phases WHERE state != 'completed' LIMIT 1")
    return last is not None and last["outcome"] == "completed" and open_phase is None


def last_refusals(reader: Reader) -> dict[str, tuple[float, list[str]]]:
    """For each phase the changes refused last, unless they were accepted since: when, and what differed."""
    found: dict[str, tuple[float, list[str]]] = {}
    rows = reader.rows(
        "SELECT at, event, subject, detail FROM journal WHERE event LIKE 'changes %' ORDER BY seq"
    )
    for row in rows:
        if row["event"] == "changes refused":
            found[row["subject"]] = (row["at"], parsed(row["detail"])["differences"])
        else:
            found.pop(row["subject"], None)
    return found
