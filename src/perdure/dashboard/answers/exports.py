"""What a run left for people: results, plots, the report, single files, the log."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from perdure.console import lines_of
from perdure.errors import PerdureError

RESULTS, REPORT = "results.json", "report.html"
_LARGEST = 16 << 20  # bytes; larger results are no document to show
_PLOTS = {".png", ".svg"}
_LOG_BYTES = 2 << 20  # of the end of a log
MOST_LINES = 5000


class NoFileError(PerdureError):
    """There is no such file to show."""


def results(place: Path) -> dict[str, Any]:
    """`results.json`, the plots with a title each, the report's name and the gate's checks, where there are any."""
    found = _document(place)
    return {"results": found, "plots": _plots(place), "report": _report(place), "gate": _gate(found)}


def _gate(found: object) -> list[Any] | None:
    gate = found.get("gate") if isinstance(found, dict) else None
    checks = gate.get("checks") if isinstance(gate, dict) else None
    return checks if isinstance(checks, list) else None


def _plots(place: Path) -> list[dict[str, str]]:
    try:
        names = sorted(path.name for path in (place / "exports").iterdir() if path.suffix.lower() in _PLOTS)
    except OSError:
        return []
    return [{"path": name, "title": Path(name).stem.replace("_", " ").replace("-", " ")} for name in names]


def _report(place: Path) -> str | None:
    return REPORT if (place / "exports" / REPORT).is_file() else None


def _document(place: Path) -> Any:
    """What results.json holds; None where there is nothing that can be read."""
    try:
        path = file(place, RESULTS)
        return json.loads(path.read_bytes()) if path.stat().st_size <= _LARGEST else None
    except (NoFileError, OSError, ValueError, RecursionError):
        return None


def file(place: Path, name: str) -> Path:
    """A regular file below a run's exports/. Raises NoFileError for all else, also for a link that leads out."""
    try:
        base = (place / "exports").resolve()
        found = (base / name).resolve()
        inside = base.is_relative_to(place.resolve()) and found.is_relative_to(base)
        if inside and stat.S_ISREG(found.stat().st_mode):
            return found
    except (OSError, ValueError, RuntimeError):
        pass
    raise NoFileError(f"there is no file {name!r} in the run's exports/")


def log(place: Path, *, lines: int) -> dict[str, Any]:
    """The last lines of run.log, without control characters."""
    path = place / "run.log"
    if path.is_symlink() or not path.is_file():
        return {"lines": []}
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            start = stream.seek(max(0, size - _LOG_BYTES))
            text = stream.read().decode(errors="backslashreplace")
    except OSError:
        return {"lines": []}
    found = lines_of(text)[1 if start else 0 :]  # the first of a part is seldom whole
    count = max(0, min(lines, MOST_LINES))
    return {"lines": found[len(found) - min(count, len(found)) :]}
