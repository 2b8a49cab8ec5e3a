"""What a run will still take on the disk, from what is recorded of it, and what of it could be let go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from perdure.results import blobs_of
from perdure.store.check import leftovers, references, set_aside
from perdure.store.database import Reader
from perdure.store.store import SMALLEST_FREE

GENERATIONS = 4  # of a loop on the disk at most: two kept, one that the backup knows, one being written


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes that a run will still write, by what they are for. `unknown` names phases of which nothing is known yet."""

    snapshots: int
    blobs: int
    database: int
    next_saves: int
    unknown: tuple[str, ...]

    @property
    def total(self) -> int:
        return self.snapshots + self.blobs + self.database + SMALLEST_FREE


@dataclass(frozen=True, slots=True)
class Removable:
    """Something whose bytes could be had back."""

    path: str  # relative to the run's folder
    size: int
    how: str  # the command, and what it costs


@dataclass(frozen=True, slots=True)
class _Phase:
    path: str
    kind: str
    is_complete: bool
    done: int
    left: int


def need_of(reader: Reader) -> Need:
    """From the sizes recorded so far and what is left of each phase."""
    phases = list(_phases(reader))
    sizes = _sizes(reader)
    done, left = sum(phase.done for phase in phases), sum(phase.left for phase in phases)
    return Need(
        snapshots=sum(_snapshots(phase, phases, sizes) for phase in phases),
        blobs=sum(_blobs(reader, phase) for phase in phases if phase.left),
        database=_database_bytes(reader.path)
        * (1 + 2 * left // max(1, done)),  # its log, and twice its growth
        next_saves=2 * max([size for size, _ in sizes.values()], default=0) + SMALLEST_FREE,
        unknown=_not_begun(reader, phases),
    )


def _phases(reader: Reader) -> Iterator[_Phase]:
    for row in reader.rows(
        "SELECT path, kind, state, total, "
        "(SELECT count(*) FROM units WHERE phase = path AND state != 'redo') AS units, "
        "(SELECT max(position) FROM snapshots WHERE loop = path AND state = 'kept') AS reached FROM phases"
    ):
        done = int((row["reached"] if row["kind"] == "range" else row["units"]) or 0)
        complete = row["state"] == "completed"
        yield _Phase(
            row["path"], row["kind"], complete, done, 0 if complete else max(0, (row["total"] or 1) - done)
        )


def _sizes(reader: Reader) -> dict[str, tuple[int, int]]:
    """Of each loop: bytes of its largest snapshot, and of those that it keeps now."""
    rows = reader.rows(
        "SELECT loop, max(size) AS largest, sum(CASE WHEN state = 'kept' THEN size ELSE 0 END) AS kept "
        "FROM snapshots GROUP BY loop"
    )
    return {row["loop"]: (row["largest"], row["kept"]) for row in rows}


def _snapshots(phase: _Phase, phases: list[_Phase], sizes: dict[str, tuple[int, int]]) -> int:
    if phase.kind == "range" and not phase.is_complete:
        largest, kept = sizes.get(phase.path, (0, 0))
        return (
            max(0, GENERATIONS * largest - kept) + 2 * largest
        )  # the best state is exported, and replaced whole
    inside = [p.path for p in phases if p.kind == "range" and p.path.startswith(f"{phase.path}/")]
    if phase.kind != "each" or not inside or not phase.left:
        return 0
    return sum(sizes.get(loop, (0, 0))[1] for loop in inside) * phase.left // max(1, phase.done)


def _blobs(reader: Reader, phase: _Phase) -> int:
    sizes = {row["digest"]: row["size"] for row in reader.rows("SELECT digest, size FROM blobs")}
    named = {digest for path, _, digest, _ in references(reader, blobs_of) if path == phase.path}
    return sum(int(sizes.get(digest, 0)) for digest in named) * phase.left // max(1, phase.done)


def _database_bytes(path: Path) -> int:
    log = path.with_name(f"{path.name}-wal")
    return path.stat().st_size + (log.stat().st_size if log.exists() else 0)


def _not_begun(reader: Reader, phases: list[_Phase]) -> tuple[str, ...]:
    row = reader.row("SELECT group_concat(value, char(10)) AS names FROM json_each("
                     "(SELECT value FROM meta WHERE key = 'phases'))")  # fmt: skip
    declared = (row["names"] or "").split("\n") if row else []
    begun = {phase.path for phase in phases}
    silent = [p.path for p in phases if p.left and not p.done]
    return tuple(name for name in [*declared, *silent] if name and (name not in begun or name in silent))


def removable(folder: Path, reader: Reader | None, *, is_completed: bool) -> list[Removable]:
    """What could go, largest first; nothing that a resume needs."""
    found = [
        Removable(f"backups/{path.name}", _bytes_below(path), "an earlier state; remove it by hand")
        for path in (folder / "backups").glob("*")
    ]
    found += [_one(folder, path, "kept as damaged; remove it by hand") for path in set_aside(folder)]
    if reader is not None:
        found += [
            _one(folder, path, f"`perdure verify --repair {folder.name}`")
            for path in leftovers(folder, reader)
        ]
    how = (
        f"`perdure clean {folder.name}`"
        if is_completed
        else "raw data; what is needed again is fetched again"
    )
    found.append(Removable("cache", _bytes_below(folder / "cache"), how))
    return sorted((one for one in found if one.size), key=lambda one: -one.size)


def _one(folder: Path, path: Path, how: str) -> Removable:
    return Removable(str(path.relative_to(folder)), path.lstat().st_size, how)


def _bytes_below(path: Path) -> int:
    if path.is_file():
        return path.lstat().st_size
    return sum(below.lstat().st_size for below in path.rglob("*") if below.is_file() or below.is_symlink())
