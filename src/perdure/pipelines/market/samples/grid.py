"""The days on which samples are taken: one grid for all symbols, laid on the market's calendar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perdure.errors import PerdureError


class TooFewSamplesError(PerdureError):
    """A symbol has too short a history to learn from."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Which sessions decide.

    sessions: the newest so many of the market's calendar are looked at. burn_in: bars that every feature needs before
    it is defined. horizon: bars after a decision until its label is known. stride: sessions from one decision to the
    next. least: samples below which a symbol is set aside.

    With the defaults there are 746 decisions; a stride below the horizon makes labels overlap, for which the samples'
    weights allow.
    """

    sessions: int = 2520
    burn_in: int = 273
    horizon: int = 10
    stride: int = 3
    least: int = 200

    def window(self, calendar: np.ndarray) -> np.ndarray:
        """(m,) the days that are looked at. calendar: (n,) datetime64[D], all sessions of the market's fund."""
        return calendar[-self.sessions :]

    def decisions(self, calendar: np.ndarray) -> np.ndarray:
        """(k,) datetime64[D]: the days of decision, which are the same for all symbols."""
        days = self.window(calendar)
        return days[self.burn_in : max(len(days) - self.horizon, 0) : self.stride]

    def rows(self, symbol: str, days: np.ndarray, calendar: np.ndarray) -> np.ndarray:
        """(k,) int64: the rows of a symbol's `days` that decide.

        days: (n,) the days of its bars inside the window. Rows are left out that lack the burn-in, or whose label is
        not known yet. Raises TooFewSamplesError below `least`.
        """
        found = np.flatnonzero(np.isin(days, self.decisions(calendar)))
        found = found[(found >= self.burn_in) & (found < len(days) - self.horizon)]
        if len(found) < self.least:
            raise TooFewSamplesError(
                f"{symbol} has {len(found)} samples from {len(days)} bars, and {self.least} are needed; "
                "leave it out until it has been listed for longer"
            )
        return found
