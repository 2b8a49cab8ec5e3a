"""Time, passed in where it matters: wall time for people, monotonic time for durations."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """What perdure asks of a clock."""

    def now(self) -> float:
        """Seconds since the epoch; may jump, so it is only ever shown."""

    def monotonic(self) -> float:
        """Seconds that never go back; stops while the machine sleeps."""


@dataclass(frozen=True, slots=True)
class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
