"""Samples, goals, and the tables that show them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

RESULTS = Path("bench-results")


@dataclass(frozen=True, slots=True)
class Goal:
    """What a median must not exceed, in the unit of its column."""

    limit: float

    def verdict(self, value: float) -> str:
        return f"{'met' if value <= self.limit else 'MISSED'} (<= {number(self.limit)})"


@dataclass(frozen=True, slots=True)
class Line:
    """One contender's line: values by column; columns that it has no value for show a dash."""

    name: str
    values: Mapping[str, float]
    goals: Mapping[str, Goal]
    note: str = ""


def seconds(work: Callable[[], object]) -> float:
    """How long `work` takes by the clock."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def median(samples: Sequence[float]) -> float:
    return statistics.median(samples)


def number(value: float) -> str:
    """Three figures that count."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def show(title: str, columns: Sequence[str], lines: Sequence[Line]) -> None:
    """Print a table and keep it as JSON in `bench-results/`."""
    rows = [["", *columns, "goal"], *(_row(line, columns) for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    print(f"\n{title}")
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:-1], widths[1:-1], strict=True))]
        print("  " + "  ".join([*cells, row[-1]]).rstrip())
    _keep(title, lines)


def _row(line: Line, columns: Sequence[str]) -> list[str]:
    cells = [number(line.values[c]) if c in line.values else "-" for c in columns]
    verdicts = [f"{c} {goal.verdict(line.values[c])}" for c, goal in line.goals.items()]
    return [line.name, *cells, "; ".join([*verdicts, *([line.note] if line.note else [])])]


def _keep(title: str, lines: Sequence[Line]) -> None:
    RESULTS.mkdir(exist_ok=True)
    name = "".join(c if c.isalnum() else "-" for c in title.partition(":")[0].lower())
    document = {
        "title": title,
        "lines": [
            {"name": line.name, **line.values, "goals": {c: g.limit for c, g in line.goals.items()}}
            for line in lines
        ],
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
