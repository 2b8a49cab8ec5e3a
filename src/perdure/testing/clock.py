"""A clock that a test moves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class FakeClock:
    """Stands still until it is told to move; pass it as `perdure.open(..., clock=clock)`.

    wall: seconds since the epoch, which may be set back too. ticks: what durations are measured by.
    """

    wall: float = 1_000_000.0
    ticks: float = 0.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, seconds: float) -> None:
        """Let time pass: both clocks go on."""
        if seconds < 0:
            raise ValueError(f"time cannot pass by {seconds} seconds; set `wall` to put the wall clock back")
        self.wall += seconds
        self.ticks += seconds
