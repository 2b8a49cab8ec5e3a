"""What a run's folder of exports adds to its report: plots, and a list of files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from perdure.report import page

_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".svg": "image/svg+xml"}
_MOST_BYTES = 12_000_000  # of pictures in one page
_MOST_FILES = 200


def listing(folder: Path) -> list[str]:
    """What people can open."""
    rows = [[path.name, path.stat().st_size] for path in _files(folder)[:_MOST_FILES]]
    return [page.heading("Exports"), page.table(("file in exports/", "bytes"), rows)] if rows else []


def pictures(folder: Path) -> list[str]:
    """The plots among them, in the page itself."""
    shown = "".join(_pictures([(path, path.stat().st_size) for path in _files(folder)]))
    return [page.heading("Plots"), f'<div class="charts">{shown}</div>'] if shown else []


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and not is_ours(path)
    )


def _pictures(files: list[tuple[Path, int]]) -> Iterator[str]:
    left = _MOST_BYTES
    for path, size in files:
        if path.suffix.lower() in _PICTURES and size <= left:
            left -= size
            yield page.picture(path.name, path.read_bytes(), _PICTURES[path.suffix.lower()])


def is_ours(path: Path) -> bool:
    """Whether a page was made here, and may be replaced."""
    if path.suffix != ".html":
        return False
    with path.open("rb") as stream:
        head = stream.read(1000)
    return (
        not head or f'content="{page.GENERATOR}"'.encode() in head
    )  # empty: damaged, and nobody else's loss
