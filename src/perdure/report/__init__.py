"""The report of a run, for any run: one HTML file, made from the database alone.

`exports/report.html`, unless the run makes a file of that name itself (the built-in pipelines do): then
`exports/run.html`.
"""

from __future__ import annotations

import time
from pathlib import Path

from perdure import files
from perdure.overview import overview
from perdure.store.database import Reader

NAMES = ("report.html", "run.html")  # in exports/, the first that is free or was made here


def place_for(folder: Path) -> Path:
    """Where the report of a run goes when nothing else is asked for."""
    from perdure.report.exports import is_ours

    first, second = (folder / "exports" / name for name in NAMES)
    return first if not first.exists() or is_ours(first) else second


def at_end(folder: Path) -> str:
    """Write the report of a run that has just completed; returns what went wrong, or nothing.

    A run that has not completed gets none. Nothing is raised: the run itself is through.
    """
    from perdure.reading import reading

    try:
        with reading(folder) as reader:
            if reader is not None and overview(folder, reader, now=time.time()).state == "completed":
                write(folder, reader, place_for(folder), thorough=False)
    except Exception as error:  # a page that cannot be made is no reason to fail what was computed
        return f"{type(error).__name__}: {error}"
    return ""


def write(folder: Path, reader: Reader, path: Path, *, thorough: bool) -> int:
    """Make the page and publish it at `path`; returns its size in bytes.

    thorough: with the digests of all phases, even where large tables make that take seconds.
    """
    from perdure.report.document import document

    content = document(folder, reader, now=time.time(), thorough=thorough)
    files.publish(path, [content], kind="export")
    return len(content)
