"""A star without companions: brightness, noise, variability, limb darkening, and what the instrument adds.

Figures follow Kepler's long cadence: noise in ppm, times in days, Kp the Kepler magnitude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perdure.pipelines.exoplanet.curves import CADENCE_DAYS, LENGTH

_CADENCES_IN_6_H = 0.25 / CADENCE_DAYS  # 12.2
_GAPS_PER_CURVE = 2.2  # at LENGTH points; shorter curves get fewer in proportion


@dataclass(frozen=True, slots=True)
class Star:
    """kp: magnitude. cdpp6: noise over 6 h, ppm. u1, u2: limb darkening. density: in solar units."""

    kp: float
    cdpp6: float
    u1: float
    u2: float
    density: float

    @property
    def white(self) -> float:
        """Noise of one cadence, ppm."""
        return self.cdpp6 * math.sqrt(_CADENCES_IN_6_H)

    def orbit_radius(self, period: float) -> float:
        """Orbital radius in stellar radii (Kepler's third law; 4.2 at one day around the Sun)."""
        return 4.2 * self.density ** (1 / 3) * period ** (2 / 3)


def draw_star(rng: np.random.Generator) -> Star:
    """Kp triangular(10, 14.5, 15.9); limb darkening uniform over the physical triangle (Kipping 2013)."""
    kp = float(rng.triangular(10, 14.5, 15.9))
    density = 10 ** float(rng.normal(0, 0.12))
    q1, q2 = rng.uniform(0, 1, 2).tolist()
    root = math.sqrt(q1)
    return Star(kp=kp, cdpp6=cdpp6(kp), u1=2 * root * q2, u2=root * (1 - 2 * q2), density=density)


def cdpp6(kp: float) -> float:
    """Noise over 6 h in ppm at magnitude `kp`: photons, a floor of the star's own, and the sky."""
    return math.hypot(29 * 10 ** (0.2 * (kp - 12)), 15, 3.5 * 10 ** (0.4 * (kp - 12)))


def electrons_per_second(kp: float) -> float:
    """Kepler's flux at magnitude `kp` (1.74e5 e-/s at Kp = 12, Kepler Instrument Handbook)."""
    return 1.74e5 * 10 ** (-0.4 * (kp - 12))


def variability(rng: np.random.Generator, length: int) -> np.ndarray:
    """Rotation and granulation, (length,) ppm around zero.

    A Gaussian process sampled from its power spectrum by FFT, over more than twice the length so that the
    curve does not close on itself. Rotation: two stochastically driven, damped oscillators (Anderson et
    al. 1990), at the rotation period and at half of it. Granulation: a Harvey-like profile.
    """
    size = 1 << math.ceil(math.log2(2.5 * length))
    frequency = np.fft.rfftfreq(size, CADENCE_DAYS)
    frequency[0] = frequency[1]
    omega = 2 * np.pi * frequency
    amplitude, period = 10 ** rng.normal(2.9, 0.5), 10 ** rng.normal(1.15, 0.3)
    rotation = np.zeros_like(omega)
    for harmonic, share in ((1, 1.0), (2, 0.4)):
        power = _oscillator(omega, 2 * np.pi * harmonic / period, quality=rng.uniform(3, 15))
        rotation += power * (share / power.sum())
    grains, timescale = 10 ** rng.normal(1.6, 0.25), rng.uniform(0.2, 0.8)
    ratio = omega * (timescale / (2 * np.pi))
    granulation = 1 / (1 + (ratio * ratio) ** 2)
    power = rotation * (amplitude**2 / rotation.sum()) + granulation * (grains**2 / granulation.sum())
    noise = rng.standard_normal((2, frequency.size))
    spectrum = (noise[0] + 1j * noise[1]) * np.sqrt(power / 2)
    return np.fft.irfft(spectrum, size)[:length] * size


def _oscillator(omega: np.ndarray, omega0: float, *, quality: float) -> np.ndarray:
    square = omega * omega
    return omega0**4 / ((square - omega0**2) ** 2 + square * (omega0 / quality) ** 2)


def observe(flux: np.ndarray, star: Star, rng: np.random.Generator) -> None:
    """Add outliers and gaps to a relative flux (length,) in place; gaps become NaN."""
    length = flux.size
    outlier = rng.random(length) < 0.002
    flux[outlier] += 1e-6 * star.white * rng.normal(0, 8, int(outlier.sum()))
    for _ in range(rng.poisson(_GAPS_PER_CURVE * length / LENGTH)):
        start = int(rng.integers(0, length))
        flux[start : start + int(rng.exponential(25)) + 1] = np.nan
    flux[rng.random(length) < 0.01] = np.nan
