"""The deepest dips of a light curve, for people to look at: where a planet may have crossed, and how deep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.preparation.detrend import rolling_median

_FEWEST_MEASURED = 7  # of the 13 cadences of a smoothed point, so that a lone outlier beside a gap is no dip


@dataclass(frozen=True, slots=True)
class Dip:
    """One dip: its deepest moment in the unit of the time axis, and its depth in parts per million."""

    time: float
    depth_ppm: float


def find_dips(
    time: np.ndarray, flux: np.ndarray, *, count: int = 5, window: int = 97, smooth: int = 13
) -> list[Dip]:
    """The `count` deepest dips of one series, deepest first.

    time: (m,) float64, evenly spaced, any unit; flux: (m,) in any positive unit, NaN where there is no
    measurement. The flux is divided by its rolling median over `window` cadences and averaged over `smooth`;
    both are odd. After a dip is taken, half a window around it is left out, so that one transit counts once.
    """
    if time.shape != flux.shape or time.ndim != 1:
        raise UsageError(f"time and flux must be series of one length, not {time.shape} and {flux.shape}")
    if not time.size:
        return []
    measured = np.where(np.isfinite(time), flux, np.nan).astype(np.float64)
    smoothed = _smoothed(_relative(measured, window), min(smooth, time.size))
    dips: list[Dip] = []
    while len(dips) < count and np.isfinite(smoothed).any():
        deepest = int(np.nanargmin(smoothed))
        if smoothed[deepest] >= 0:
            break
        dips.append(Dip(float(time[deepest]), float(-1e6 * smoothed[deepest])))
        smoothed[max(0, deepest - window // 2) : deepest + window // 2 + 1] = np.nan
    return dips


def _relative(flux: np.ndarray, window: int) -> np.ndarray:
    """flux / rolling median - 1."""
    level = rolling_median(flux, window)
    if np.nanmin(level, initial=np.inf) <= 0:
        raise UsageError(
            f"depths in ppm need a positive flux; its rolling median goes down to {np.nanmin(level):g}. "
            "The flux of the Kaggle tables is centred on zero and has no depth in ppm"
        )
    return flux / level - 1


def _smoothed(relative: np.ndarray, width: int) -> np.ndarray:
    """The running mean of the measured values; NaN where too few are measured, or the cadence is not."""
    ones = np.ones(width)
    measured = np.isfinite(relative)
    counts = np.convolve(measured, ones, mode="same")
    sums = np.convolve(np.where(measured, relative, 0.0), ones, mode="same")
    enough = measured & (counts >= min(width, _FEWEST_MEASURED))
    return np.where(enough, sums / np.maximum(counts, 1), np.nan)
