"""What the sweeps tried and what failed: one entry a sweep and subject, shown at the end and written as JSON.

SWEEP_STATES: how many states of each sweep are tried, evenly spread ("all": every one).
SWEEP_LOG: a file to which each failure is added at once.
SWEEP_JSON: a file that the counts are written to; those of sweeps that did not run this time stay in it.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(slots=True)
class Sweep:
    """One sweep over one subject."""

    name: str
    subject: str
    answers: Counter[str] = field(default_factory=Counter)  # what the states ended with
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    possible: int = 0  # states there are; `tried` of them were chosen
    log: str = ""  # a file for failures as they come

    @property
    def tried(self) -> int:
        return sum(self.answers.values())

    def add(self, state: object, answer: str, wrong: str = "") -> None:
        """One state: how it was answered, and what was wrong with that, if anything."""
        self.answers["FAILED" if wrong else answer] += 1
        if wrong:
            self.failures.append(f"{state}: {wrong}")
            if self.log:
                with Path(self.log).open("a") as log:
                    print(f"{self.name}, {self.subject}, {self.failures[-1]}", file=log)


LEDGER: list[Sweep] = []


@contextmanager
def counted(name: str, subject: str, *, possible: int = 0) -> Iterator[Sweep]:
    """A sweep that is entered in the ledger whatever becomes of it."""
    sweep = Sweep(name, subject, possible=possible, log=os.environ.get("SWEEP_LOG", ""))
    LEDGER.append(sweep)
    began = time.monotonic()
    try:
        yield sweep
    finally:
        sweep.seconds = time.monotonic() - began


def chosen(items: Sequence[Item], otherwise: int | None) -> list[Item]:
    """As many of `items` as SWEEP_STATES says, evenly spread; `otherwise` (None: all) where it says nothing."""
    text = os.environ.get("SWEEP_STATES", "")
    number = (None if text == "all" else int(text)) if text else otherwise
    if number is None or number >= len(items):
        return list(items)
    return [items[(2 * i + 1) * len(items) // (2 * number)] for i in range(number)]


def lines(sweeps: Sequence[Sweep]) -> list[str]:
    """The table: a line a sweep, and below it what failed."""
    found = [f"{'sweep':34} {'of':10} {'states':>7} {'failed':>7} {'seconds':>8}  answers"]
    for sweep in sweeps:
        counts = f"{sweep.tried:7} {len(sweep.failures):7} {sweep.seconds:8.0f}"
        answers = ", ".join(f"{count} {answer}" for answer, count in sweep.answers.most_common())
        found.append(f"{sweep.name:34} {sweep.subject:10} {counts}  {answers}")
        found += [f"    {failure}" for failure in sweep.failures[:20]]
    tried, failed = sum(s.tried for s in sweeps), sum(len(s.failures) for s in sweeps)
    return [*found, f"{'in all':34} {'':10} {tried:7} {failed:7}"]


def write(path: Path, sweeps: Sequence[Sweep]) -> None:
    """Enter the counts into a JSON file."""
    document = json.loads(path.read_text()) if path.exists() else {}
    for sweep in sweeps:
        document[f"{sweep.name} / {sweep.subject}"] = {
            "sweep": sweep.name, "subject": sweep.subject, "possible": sweep.possible or sweep.tried,
            "tried": sweep.tried, "failed": len(sweep.failures), "seconds": round(sweep.seconds),
            "answers": dict(sweep.answers), "failures": sweep.failures,
        }  # fmt: skip
    path.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
