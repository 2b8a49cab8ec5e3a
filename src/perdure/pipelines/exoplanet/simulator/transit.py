"""The light curve of a dark disc that crosses a limb-darkened star on a circular orbit.

The star's intensity is I(mu) = 1 - u1 (1 - mu) - u2 (1 - mu)^2 (Mandel & Agol 2002). The blocked light is
integrated over stellar radius by Gauss-Legendre quadrature in a cosine-mapped radius, which removes the
square-root ends of the integrand, on a grid of separations that is dense where the light curve bends
(the inner and the outer contact), and interpolated between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numba
import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(32)
_ANGLES = (_NODES + 1) * math.pi / 2
_ANGLE_WEIGHTS = _WEIGHTS * math.pi / 2
_GRID = 128  # separations on either side of the inner contact


@dataclass(frozen=True, slots=True)
class Orbit:
    """A circular orbit and the bodies on it.

    period, t0:  days; t0 is the time of one mid-transit.
    ratio:       radius of the dark disc, in stellar radii.
    a:           orbital radius, in stellar radii.
    impact:      smallest separation of the centres seen in projection, in stellar radii.
    u1, u2:      quadratic limb darkening.
    """

    period: float
    t0: float
    ratio: float
    a: float
    impact: float
    u1: float
    u2: float

    @property
    def duration(self) -> float:
        """Days from first to last contact (Seager & Mallen-Ornelas 2003, eq. 3)."""
        chord = math.sqrt(max(0.0, (1 + self.ratio) ** 2 - self.impact**2))
        sini = math.sqrt(max(1e-12, 1 - (self.impact / self.a) ** 2))
        return self.period / math.pi * math.asin(min(1.0, chord / (self.a * sini)))


def transit(time: np.ndarray, orbit: Orbit, *, exposure: float, oversample: int = 5) -> np.ndarray:
    """Relative flux (n,) float64 at `time` (n,) days, averaged over an exposure of `exposure` days."""
    separations = _separations(orbit.ratio, _GRID)
    light = _light(orbit.ratio, orbit.u1, orbit.u2, separations, _ANGLES, _ANGLE_WEIGHTS)
    return _observe(
        np.ascontiguousarray(time, dtype=np.float64),
        orbit.t0,
        orbit.period,
        orbit.ratio,
        orbit.a,
        orbit.impact,
        orbit.duration,
        exposure,
        oversample,
        separations,
        light,
    )


@numba.njit(cache=True)
def _separations(ratio: float, count: int) -> np.ndarray:
    """Grid over [0, 1 + ratio], clustered at the inner contact |1 - ratio| and at the outer one."""
    grid = np.empty(2 * count)
    inner, outer = abs(1 - ratio), 1 + ratio
    for i in range(count):
        grid[i] = inner * math.sin(math.pi / 2 * i / count)
        grid[count + i] = inner + (outer - inner) * (1 - math.cos(math.pi * i / (count - 1))) / 2
    return grid


@numba.njit(cache=True)
def _light(
    ratio: float, u1: float, u2: float, separations: np.ndarray, angles: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Relative flux at each separation."""
    norm = math.pi * (1 - u1 / 3 - u2 / 6)
    light = np.empty(separations.size)
    for k in range(separations.size):
        z = separations[k]
        if z >= 1 + ratio:
            light[k] = 1.0
            continue
        blocked = _full_rings(min(1.0, ratio - z), u1, u2) if z < ratio else 0.0
        low, high = abs(z - ratio), min(1.0, z + ratio)
        if high > low:
            blocked += _partial_rings(ratio, u1, u2, z, low, high, angles, weights)
        light[k] = 1 - blocked / norm
    return light


@numba.njit(cache=True)
def _full_rings(radius: float, u1: float, u2: float) -> float:
    """Light of the star's centre out to `radius`, all of it covered (closed form)."""
    mu = math.sqrt(1 - radius * radius)
    flat, linear, square = radius * radius / 2, (1 - mu**3) / 3, (1 - mu**4) / 4
    return 2 * math.pi * ((1 - u1 - u2) * flat + (u1 + 2 * u2) * linear - u2 * square)


@numba.njit(cache=True)
def _partial_rings(
    ratio: float,
    u1: float,
    u2: float,
    z: float,
    low: float,
    high: float,
    angles: np.ndarray,
    weights: np.ndarray,
) -> float:
    """Light blocked in the rings between `low` and `high`, each covered over an arc."""
    total = 0.0
    for j in range(angles.size):
        r = low + (high - low) * (1 - math.cos(angles[j])) / 2
        weight = weights[j] * (high - low) / 2 * math.sin(angles[j])
        cosine = (r * r + z * z - ratio * ratio) / (2 * r * z) if r * z > 0 else -1.0
        arc = 2 * math.acos(min(1.0, max(-1.0, cosine)))
        mu = math.sqrt(max(0.0, 1 - r * r))
        total += weight * (1 - u1 * (1 - mu) - u2 * (1 - mu) ** 2) * arc * r
    return total


@numba.njit(cache=True)
def _interpolate(z: float, grid: np.ndarray, light: np.ndarray) -> float:
    low, high = 0, grid.size - 1
    while high - low > 1:
        middle = (low + high) // 2
        if grid[middle] <= z:
            low = middle
        else:
            high = middle
    share = (z - grid[low]) / (grid[high] - grid[low])
    return light[low] + share * (light[high] - light[low])


@numba.njit(cache=True, nogil=True)
def _observe(
    time: np.ndarray,
    t0: float,
    period: float,
    ratio: float,
    a: float,
    impact: float,
    duration: float,
    exposure: float,
    oversample: int,
    grid: np.ndarray,
    light: np.ndarray,
) -> np.ndarray:
    flux = np.ones(time.size)
    cosi = impact / a
    reach = duration / 2 + exposure
    for i in range(time.size):
        phase = (time[i] - t0) / period
        offset = (phase - math.floor(phase + 0.5)) * period
        if abs(offset) > reach:
            continue
        total = 0.0
        for k in range(oversample):
            angle = 2 * math.pi * (offset + exposure * ((k + 0.5) / oversample - 0.5)) / period
            z = a * math.sqrt(math.sin(angle) ** 2 + (cosi * math.cos(angle)) ** 2)
            total += 1.0 if z >= 1 + ratio else _interpolate(z, grid, light)
        flux[i] = total / oversample
    return flux
