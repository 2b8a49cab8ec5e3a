"""Phase 4: a raw light curve becomes what the network sees. Stateless: a curve's result depends on that curve
alone.

1. what is not finite is a gap;
2. the rolling median over the measured cadences is subtracted (starspots and drifts go, transits stay);
3. the remainder is divided by its scatter, 1.4826 x the median of its absolute values;
4. clipped to [-30, +5] sigma: transits go down, so the upper side holds only flares and cosmic rays;
5. gaps of up to 5 cadences are bridged by a straight line, longer ones and the padding are 0.

The median is subtracted, not divided by: after step 3 both give the same picture, and flux that was centred
on zero before (as in the Kaggle tables) has no level to divide by.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.ma  # numba asks for it in our threads; its lazy import recurses when two ask at once
from numba import njit

from perdure.errors import FormatError, UsageError
from perdure.pipelines.exoplanet.curves import LENGTH
from perdure.pipelines.exoplanet.preparation.detrend import (
    MAD_TO_SIGMA,
    median_in_place,
    rolling_median_into,
    window_room,
)

_FORMAT = 1  # raise it whenever the same curve would give other bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessor:
    """The options of phase 4, and the phase itself as `apply`."""

    length: int = LENGTH  # cadences of a prepared curve
    window: int = 101  # cadences of the rolling median, odd; about two days of Kepler's long cadence
    longest_bridge: int = 5  # cadences of the longest gap that is interpolated
    floor: float = -30.0  # sigma
    ceiling: float = 5.0  # sigma

    def __post_init__(self) -> None:
        if self.length < 1 or self.window < 3 or self.window % 2 == 0 or self.longest_bridge < 0:
            raise UsageError(
                f"a preprocessor needs length >= 1, an odd window >= 3 and longest_bridge >= 0, not {self}"
            )
        if not self.floor < 0 < self.ceiling:
            raise UsageError(f"clipping needs floor < 0 < ceiling, not {self.floor} and {self.ceiling}")

    def apply(self, flux: np.ndarray, *, out: np.ndarray | None = None, threads: int = 1) -> np.ndarray:
        """Prepare `flux` (n, m) float32, m <= `length`; returns (n, `length`) float32, written into `out` if
        given.

        The bits do not depend on `threads`, nor on the other rows.
        """
        rows, cadences = flux.shape
        if cadences > self.length:
            raise UsageError(
                f"curves of {cadences} cadences do not fit the preprocessor's length of {self.length}; "
                "cut them into windows first, as perdure's readers do"
            )
        if out is None:
            out = np.empty((rows, self.length), np.float32)
        bounds = np.linspace(0, rows, threads + 1).astype(int)
        with ThreadPoolExecutor(threads) as pool:
            shares = [
                pool.submit(self._prepare, flux[start:stop], out[start:stop])
                for start, stop in pairwise(bounds)
                if stop > start
            ]
        for share in shares:
            share.result()
        return out

    def _prepare(self, flux: np.ndarray, out: np.ndarray) -> None:
        rows = np.ascontiguousarray(flux, np.float32)
        _prepare(rows, self.window, self.longest_bridge, self.floor, self.ceiling, out)

    def document(self) -> dict[str, Any]:
        """The options as a JSON document, for `preprocessor.json`."""
        return {"format": _FORMAT, **asdict(self)}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The preprocessor that a document describes; FormatError when this version gives other bits."""
        options = {key: value for key, value in document.items() if key != "format"}
        known = {field.name for field in fields(cls)}
        if document.get("format") != _FORMAT or set(options) != known:
            raise FormatError(
                f"a preprocessor document of format {document.get('format')!r} with {sorted(options)} was "
                f"found; this version reads format {_FORMAT} with {sorted(known)}; use the version of "
                "perdure that wrote it"
            )
        return cls(**options)


@njit(nogil=True, cache=True)
def _scatter(residual: np.ndarray, spare: np.ndarray) -> float:
    """1.4826 x the median absolute residual; where over half are 0, 1.2533 x the mean; 0 for a flat curve.

    The residual's own median is not subtracted: after a rolling median it is zero but for rounding.
    """
    count = 0
    total = 0.0
    for value in residual:
        if math.isfinite(value):
            spare[count] = abs(value)
            total += abs(value)
            count += 1
    if count == 0:
        return 0.0
    scale = MAD_TO_SIGMA * median_in_place(spare, count)
    return scale if scale > 0.0 else 1.2533 * total / count


@njit(nogil=True, cache=True)
def _bridge(curve: np.ndarray, longest: int) -> None:
    """Replace NaN: short gaps between two measurements by a straight line, the others by 0."""
    size = curve.size
    start = 0
    while start < size:
        if math.isfinite(curve[start]):
            start += 1
            continue
        stop = start
        while stop < size and not math.isfinite(curve[stop]):
            stop += 1
        inside = start > 0 and stop < size and stop - start <= longest
        left = curve[start - 1] if inside else np.float32(0)
        slope = (curve[stop] - left) / np.float32(stop - start + 1) if inside else np.float32(0)
        for k in range(start, stop):
            curve[k] = left + slope * np.float32(k - start + 1)
        start = stop


@njit(nogil=True, cache=True)
def _prepare(
    flux: np.ndarray, width: int, longest: int, floor: float, ceiling: float, out: np.ndarray
) -> None:
    cadences = flux.shape[1]
    room = window_room(width, flux)
    residual = np.empty(cadences, np.float32)
    spare = np.empty(cadences, np.float32)
    for row in range(flux.shape[0]):
        rolling_median_into(flux[row], width, room, residual)
        for k in range(cadences):
            residual[k] = flux[row, k] - residual[k] if math.isfinite(flux[row, k]) else np.float32(np.nan)
        scale = _scatter(residual, spare)
        inverse = 1.0 / scale if scale > 0.0 else 0.0
        for k in range(cadences):
            sigma = residual[k] * inverse
            # A comparison with NaN is false, so gaps stay NaN here.
            out[row, k] = floor if sigma < floor else ceiling if sigma > ceiling else sigma
        out[row, cadences:] = np.nan
        _bridge(out[row], longest)
