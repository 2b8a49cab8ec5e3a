"""A run's database as a reader sees it: read-only, beside a run that trains and long after one that died."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.errors import DamagedError

if TYPE_CHECKING:
    from perdure.store.database import Reader


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, or what is left of one."""
    return any((folder / name).exists() for name in ("run.db", "run.db.backup", "lock"))


@contextmanager
def reading(folder: Path) -> Iterator[Reader | None]:
    """A read-only view of a run's database, or None where nothing was recorded yet.

    Raises FormatError for a run of a newer perdure, and DamagedError when the database is gone or unreadable.
    """
    from perdure.store import backup, schema, swap
    from perdure.store.database import DATABASE, Reader
    from perdure.store.lock import read_holder

    path = folder / DATABASE
    if not path.exists() or not path.stat().st_size:
        if (folder / f"{DATABASE}.backup").exists():
            raise DamagedError(
                f"{path} is gone; `perdure verify --repair {folder}` puts its backup in its place"
            )
        if not (folder / swap.INCOMING).exists():  # else a reset or restore is on its way
            backup.refuse_lost(path)
        yield None
        return
    holder = read_holder(folder / "lock")
    logged = path.with_name(f"{DATABASE}-wal").exists()
    # With nobody writing, leave no side files behind, and read where nothing may be written.
    reader = Reader(path, immutable=not logged and (holder is None or not holder.is_alive()))
    try:
        schema.refuse_newer(reader, place=str(folder))
        yield reader if schema.format_of(reader) else None
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if schema.is_whole(path):
            raise
        raise DamagedError(f"{path} is damaged ({error}); run `perdure verify --repair {folder}`") from error
    finally:
        reader.close()
