"""Writes the table of docs/sweeps.md from the latest counts: `python tests/sweeps/document.py`."""

from __future__ import annotations

import json
from pathlib import Path

COUNTS = Path(__file__).with_name("counts.json")
PAGE = Path(__file__).parents[2] / "docs" / "sweeps.md"
_BEGIN, _END = "<!-- counts: written by tests/sweeps/document.py -->\n", "<!-- end of counts -->\n"


def table() -> str:
    """The counts as Markdown, and below them what failed."""
    entries = sorted(
        json.loads(COUNTS.read_text()).values(), key=lambda entry: (entry["sweep"], entry["subject"])
    )
    lines = ["| sweep | of | states there are | tried | failed | answers |", "|---|---|---|---|---|---|"]
    for entry in entries:
        answers = ", ".join(f"{count} {answer}" for answer, count in sorted(entry["answers"].items()))
        cells = [str(entry[what]) for what in ("sweep", "subject", "possible", "tried", "failed")]
        lines.append(f"| {' | '.join(cells)} | {answers} |")
    tried, failed = (sum(entry[what] for entry in entries) for what in ("tried", "failed"))
    lines.append(f"| in all | | | {tried} | {failed} | |")
    return "\n".join(lines) + "\n"


def page() -> str:
    """The page with the table as the counts have it."""
    before, _, rest = PAGE.read_text().partition(_BEGIN)
    return before + _BEGIN + "\n" + table() + "\n" + _END + rest.partition(_END)[2]


if __name__ == "__main__":
    PAGE.write_text(page())
