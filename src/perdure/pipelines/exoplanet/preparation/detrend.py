"""The rolling median of a series with gaps, as numba kernels that release the GIL.

The window is kept sorted, padded with infinity to whole vector registers, and rewritten in full for every
cadence by two passes without a branch: one drops the value that leaves, one inserts the value that enters.
That is nearly three times as fast as searching and shifting, because a processor does eight or sixteen values
at once. Every series is worked on alone, so its result has the same bits in any batch and any thread.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

MAD_TO_SIGMA = 1.4826  # for a normal distribution: 1 / quantile(3/4)
_LANES = 16


@njit(nogil=True, cache=True)
def _turn(window: np.ndarray, spare: np.ndarray, leaving: float, entering: float) -> None:
    """Take one value out of the sorted `window[1:-1]` and put one in; infinity stands for "none".

    Dropping: what is not smaller than the leaving value moves down by one.
    Inserting into sorted u: max(u[k-1], min(u[k], entering)), with u[-1] = -infinity.
    """
    size = window.size - 2
    for k in range(size):
        here = window[k + 1]
        above = window[k + 2]
        spare[k + 1] = here if here < leaving else above
    for k in range(size):
        below = spare[k]
        here = spare[k + 1]
        lower = here if here < entering else entering
        window[k + 1] = below if below > lower else lower


@njit(nogil=True, cache=True)
def rolling_median_into(values: np.ndarray, width: int, room: np.ndarray, out: np.ndarray) -> None:
    """Write the centred rolling median of `values` (m,) float into `out` (m,).

    Only measured (finite) values within `width` // 2 cadences count; at the ends the window is cut off. Where
    it holds none, `out` is NaN. `room` is what `window_room(width, values)` returned; its content does not
    matter.
    """
    half = width // 2
    size = values.size
    infinity = values.dtype.type(np.inf)
    window, spare = room[0], room[1]
    window[:] = infinity
    spare[:] = infinity
    window[0] = -infinity
    spare[0] = -infinity
    count = 0
    for i in range(-half, size):
        entering = values[i + half] if i + half < size else infinity
        leaving = values[i - half - 1] if i - half - 1 >= 0 else infinity
        if math.isfinite(entering):
            count += 1
        else:
            entering = infinity
        if math.isfinite(leaving):
            count -= 1
        else:
            leaving = infinity
        _turn(window, spare, leaving, entering)
        if i >= 0:
            middle = count // 2
            if count == 0:
                out[i] = np.nan
            elif count % 2 == 1:
                out[i] = window[middle + 1]
            else:
                out[i] = (window[middle] + window[middle + 1]) * values.dtype.type(0.5)


@njit(nogil=True, cache=True)
def median_in_place(values: np.ndarray, count: int) -> float:
    """The upper median of the first `count` >= 1 values, which are reordered (quickselect after Hoare)."""
    target = count // 2
    low, high = 0, count - 1
    while low < high:
        a, b, c = values[low], values[(low + high) // 2], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if target <= j:
            high = j
        elif target >= i:
            low = i
        else:
            break
    return values[target]


@njit(nogil=True, cache=True)
def window_room(width: int, like: np.ndarray) -> np.ndarray:
    """Room for a window of `width` values of the type of `like`: two rows, with sentinels at the ends."""
    padded = (width + _LANES) // _LANES * _LANES
    return np.empty((2, padded + 2), like.dtype)


def rolling_median(values: np.ndarray, width: int) -> np.ndarray:
    """The centred rolling median of a float series (m,), NaN where there is no measurement."""
    series = np.ascontiguousarray(values)
    out = np.empty_like(series)
    rolling_median_into(series, width, window_room(width, series), out)
    return out
