"""How much each sample counts: less where labels overlap, and less the older it is."""

from __future__ import annotations

import numpy as np

_DAYS = 365.25


def average_uniqueness(first: np.ndarray, last: np.ndarray, bars: int) -> np.ndarray:
    """(k,) the mean of 1 / (labels alive) over the bars of each label, 0 to 1.

    M. Lopez de Prado, Advances in Financial Machine Learning (2018), section 4.4. first, last: (k,) rows of the bars
    of entry and exit, both counted. bars: how many bars there are.
    """
    change = np.bincount(first, minlength=bars + 1) - np.bincount(last + 1, minlength=bars + 1)
    alive = np.cumsum(change)[:bars]
    share = np.concatenate([[0.0], np.cumsum(1.0 / np.maximum(alive, 1))])
    found: np.ndarray = (share[last + 1] - share[first]) / (last + 1 - first)
    return found


def time_decay(days: np.ndarray, newest: np.datetime64, *, half_life: float = 5.0) -> np.ndarray:
    """(k,) 1 on `newest`, and half as much every `half_life` years before it.

    By date and not by the number of samples, so that the same day counts alike for an old and a young listing.
    """
    age = (newest - days.astype("datetime64[D]")).astype(np.float64) / _DAYS
    found: np.ndarray = 0.5 ** (age / half_life)
    return found
