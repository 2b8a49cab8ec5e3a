"""The file that a person names for a command to write."""

from __future__ import annotations

from pathlib import Path

from perdure.errors import UsageError

_DATABASES = ("run.db", "run.db.backup")


def target(named: Path) -> Path:
    """Its path, links followed. Raises UsageError where nothing may be written: what a run consists of, for one."""
    path = named.expanduser().resolve()
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent} to write {path.name} into")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; name a file")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file that could be replaced; name another")
    for folder in path.parents:
        if any((folder / name).exists() for name in _DATABASES) and folder / "exports" not in path.parents:
            raise UsageError(
                f"{path} is inside the run {folder}, whose own files are not to be replaced; name a file in its "
                "exports/, or elsewhere"
            )
    return path
