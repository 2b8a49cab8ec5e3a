"""When to save: what the user asked for, and what the overhead budget allows.

The budget delays saves. It never changes what a save holds, nor any result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from perdure.clock import Clock
from perdure.errors import UsageError

Every = str | int | None | Sequence[str | int]
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Progress:
    """What happened since the last save."""

    seconds: float
    batches: int
    iteration_ended: bool


class SavePolicy(Protocol):
    """Decides whether a save is due."""

    def is_due(self, progress: Progress) -> bool: ...


@dataclass(frozen=True, slots=True)
class EachIteration:
    """At the end of each iteration."""

    def is_due(self, progress: Progress) -> bool:
        return progress.iteration_ended


@dataclass(frozen=True, slots=True)
class EachPeriod:
    """When so many seconds have passed, at the next batch or the end of the iteration."""

    seconds: float

    def is_due(self, progress: Progress) -> bool:
        return progress.seconds >= self.seconds


@dataclass(frozen=True, slots=True)
class EachBatches:
    """When so many training steps (batches) were taken."""

    batches: int

    def is_due(self, progress: Progress) -> bool:
        return progress.batches >= self.batches


@dataclass(frozen=True, slots=True)
class AnyOf:
    """When one of several policies says so."""

    policies: tuple[SavePolicy, ...]

    def is_due(self, progress: Progress) -> bool:
        return any(policy.is_due(progress) for policy in self.policies)


def policy_of(every: Every) -> SavePolicy:
    """None or "epoch": each iteration; "30s": seconds; 500: training steps; a sequence: whichever comes first."""
    if every is None or (isinstance(every, str) and every in {"epoch", "iteration"}):
        return EachIteration()
    if isinstance(every, bool) or not isinstance(every, int | str | Sequence) or every == () or every == []:
        raise UsageError(f"every={every!r} is not a time or a number of training steps; use '30s' or 500")
    if isinstance(every, int):
        if every < 1:
            raise UsageError(f"every={every} training steps is not possible; use 1 or more")
        return EachBatches(every)
    if isinstance(every, str):
        return EachPeriod(seconds_of(every, name="every"))
    return AnyOf(tuple(policy_of(one) for one in every))


def seconds_of(text: str | float, *, name: str) -> float:
    """Seconds from "30s", "10m", "2h", "500ms", or a number."""
    if isinstance(text, int | float) and not isinstance(text, bool) and text > 0:
        return float(text)
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|min|m|h)\s*", str(text))
    if not match or float(match[1]) <= 0:
        raise UsageError(f"{name}={text!r} is not a time; write it like '30s', '10m' or '2h'")
    return float(match[1]) * _UNITS[match[2]]


@dataclass(slots=True)
class Budget:
    """Keeps the cost of saving below a share of the attempt's time.

    The cost is what the training thread waits plus the processor time that the writer takes from it. `share` of
    None saves whenever a save is due.
    """

    clock: Clock
    share: float | None = 0.01
    spent: float = 0.0  # seconds
    _expected: float = 0.005  # seconds that the next save will cost: the mean of recent ones
    _began: float = field(init=False)

    def __post_init__(self) -> None:
        self._began = self.clock.monotonic()

    def elapsed(self) -> float:
        return self.clock.monotonic() - self._began

    def allows_save(self) -> bool:
        if self.share is None:
            return True
        return self.spent + self._expected <= self.share * self.elapsed()

    def spend(self, seconds: float) -> None:
        self.spent += seconds

    def learn(self, seconds: float) -> None:
        """A whole save cost so much, stall and writer together."""
        self._expected = 0.5 * (self._expected + seconds)

    def overhead(self) -> float:
        """The share of the attempt's time that saving has cost so far."""
        return self.spent / max(self.elapsed(), 1e-9)
