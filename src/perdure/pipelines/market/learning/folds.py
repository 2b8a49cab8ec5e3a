"""Forward folds: each trains on what was over before its block began, and is tested on the block.

The newest sessions are the lockbox, which only the final fold is tested on. A label ends at `t1`; a sample whose
label reaches into a block, or comes within the embargo before it, is purged from that block's training rows, across
all symbols (Lopez de Prado 2018, chapter 7, for blocks that go forward only).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perdure.errors import UsageError

BLOCKS = 5
FINAL = "final"


@dataclass(frozen=True, slots=True)
class Fold:
    """name: "block 1" ... or "final"; train: (k,) and test: (m,) int64 rows; purged: rows left out between them."""

    name: str
    train: np.ndarray
    test: np.ndarray
    purged: int


def forward_folds(
    day: np.ndarray,
    t1: np.ndarray,
    *,
    first_share: float,
    lockbox_share: float,
    embargo: int,
) -> tuple[Fold, ...]:
    """Five forward folds and the final one, oldest first.

    day, t1: (n,) datetime64[D], when each sample decides and when its label ends. first_share: of the sessions before
    the lockbox, those before the first block. embargo: sessions. Raises UsageError when a fold is left without rows.
    """
    sessions = np.unique(day)
    opening = len(sessions) - round(lockbox_share * len(sessions))
    edges = np.linspace(round(first_share * opening), opening, BLOCKS + 1).round().astype(int)
    named = [(f"block {k + 1}", edges[k], edges[k + 1]) for k in range(BLOCKS)]
    folds = [
        _fold(name, day, t1, sessions, begin, end, embargo)
        for name, begin, end in [*named, (FINAL, opening, len(sessions))]
    ]
    empty = [fold.name for fold in folds if not (len(fold.train) and len(fold.test))]
    if empty:
        raise UsageError(
            f"{len(sessions)} sessions are too few for {BLOCKS} blocks with an embargo of {embargo}: "
            f"{', '.join(empty)} has no rows; use more history"
        )
    return tuple(folds)


def _fold(
    name: str,
    day: np.ndarray,
    t1: np.ndarray,
    sessions: np.ndarray,
    begin: int,
    end: int,
    embargo: int,
) -> Fold:
    """The fold whose block is sessions[begin:end]."""
    first, last = sessions[begin], sessions[end - 1]
    # Business days, for the grid of samples has fewer days than the market was open.
    limit = np.busday_offset(first, -embargo, roll="backward")
    test = np.flatnonzero((day >= first) & (day <= last))
    before = day < first
    train = np.flatnonzero(before & (t1 < limit))
    return Fold(name, train, test, int(before.sum()) - len(train))
