"""What happens to a star's light: a planet, or one of the things that look like one to a careless eye."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from perdure.pipelines.exoplanet.curves import CADENCE_DAYS
from perdure.pipelines.exoplanet.simulator.star import Star
from perdure.pipelines.exoplanet.simulator.transit import Orbit, transit

NEGATIVES = {  # kind -> share among the curves without a planet
    "quiet": 0.55,
    "binary": 0.12,
    "grazing": 0.08,
    "blend": 0.08,
    "dropout": 0.10,
    "flare": 0.07,
}
DIFFICULTIES = {"easy": (30.0, 200.0), "medium": (12.0, 100.0), "hard": (7.0, 30.0)}  # range of the MES
_PERIODS = (0.6, 32.0)  # days
_RATIOS = (0.004, 0.18)  # planet to star
_NAN = math.nan


@dataclass(frozen=True, slots=True)
class Signal:
    """light: (length,) relative flux, to be multiplied in. The rest describes eclipses (NaN for none)."""

    light: np.ndarray
    period: float = _NAN
    t0: float = _NAN
    depth: float = _NAN
    duration: float = _NAN


def draw_signal(
    kind: str, star: Star, time: np.ndarray, rng: np.random.Generator, *, mes: tuple[float, float]
) -> Signal:
    """The signal of one kind; `mes` is the range that a planet's multiple-event statistic is drawn from."""
    if kind == "planet":
        return _planet(star, time, rng, mes)
    if kind in ("binary", "grazing", "blend"):
        return {"binary": _binary, "grazing": _grazing, "blend": _blend}[kind](star, time, rng)
    if kind == "quiet":
        return Signal(np.ones(time.size))
    return Signal({"dropout": _dropout, "flare": _flares}[kind](star, time, rng))


def realised_mes(light: np.ndarray, star: Star, seen: np.ndarray) -> float:
    """Multiple-event statistic of a signal against the white noise, over the cadences that were `seen`.

    sqrt(sum (1 - f)^2) / sigma: the signal-to-noise ratio of a matched filter; for a box of depth d over
    n cadences it is d sqrt(n) / sigma, the textbook form.
    """
    missing = 1 - light[seen]
    return float(np.sqrt(np.dot(missing, missing)) / (1e-6 * star.white))


def _period(time: np.ndarray, rng: np.random.Generator) -> float:
    """Log-uniform days, short enough for two events within the curve."""
    longest = min(_PERIODS[1], 0.49 * float(time[-1]))
    return float(10 ** rng.uniform(math.log10(_PERIODS[0]), math.log10(longest)))


def _orbit(star: Star, period: float, t0: float, ratio: float, impact: float, *, scale: float = 1.0) -> Orbit:
    nearest = 1.05 * (1 + ratio)  # bodies do not touch
    a = max(nearest, star.orbit_radius(period) * scale)
    return Orbit(period, t0, ratio, a, impact, star.u1, star.u2)


def _see(orbit: Orbit, time: np.ndarray) -> np.ndarray:
    return transit(time, orbit, exposure=CADENCE_DAYS)


def _planet(star: Star, time: np.ndarray, rng: np.random.Generator, mes: tuple[float, float]) -> Signal:
    period, impact = _period(time, rng), float(rng.uniform(0, 0.9))
    target = 10 ** rng.uniform(math.log10(mes[0]), math.log10(mes[1]))
    t0 = float(rng.uniform(0, min(period, time[-1] - period)))
    # A first guess from the box formula, then one correction by the statistic that it really gave.
    orbit = _orbit(star, period, t0, 0.03, impact)
    events = max(2, int(time[-1] / period))
    depth = target / math.sqrt(events) * star.cdpp6 * 1e-6 * math.sqrt(0.25 / orbit.duration)
    orbit = replace(orbit, ratio=float(np.clip(math.sqrt(depth), *_RATIOS)))
    given = realised_mes(_see(orbit, time), star, np.ones(time.size, dtype=bool))
    orbit = replace(orbit, ratio=float(np.clip(orbit.ratio * math.sqrt(target / max(given, 1e-3)), *_RATIOS)))
    light = _see(orbit, time)
    return Signal(light, period, t0, float(1 - light.min()), orbit.duration)


def _binary(star: Star, time: np.ndarray, rng: np.random.Generator) -> Signal:
    """Two stars: deep eclipses, the secondary half a period later and shallower."""
    period, ratio = _period(time, rng), float(rng.uniform(0.2, 0.7))
    orbit = _orbit(star, period, float(rng.uniform(0, period)), ratio, rng.uniform(0, 0.9 + ratio), scale=0.8)
    second = replace(orbit, t0=orbit.t0 + period / 2)
    return _eclipses(orbit, second, time, weight=float(rng.uniform(0.05, 0.9)))


def _grazing(star: Star, time: np.ndarray, rng: np.random.Generator) -> Signal:
    """A companion that only touches the disc's rim: V-shaped dips."""
    period, ratio = _period(time, rng), float(rng.uniform(0.1, 0.5))
    impact = 1 + ratio * float(rng.uniform(-0.2, 0.8))
    orbit = _orbit(star, period, float(rng.uniform(0, period)), ratio, impact, scale=0.5)
    return _eclipses(orbit, None, time)


def _blend(star: Star, time: np.ndarray, rng: np.random.Generator) -> Signal:
    """A faint binary in the same pixels: shallow dips whose odd and even depths differ."""
    period, ratio = _period(time, rng), float(rng.uniform(0.2, 0.7))
    dilution = float(10 ** rng.uniform(-3.3, -1.5))
    t0 = float(rng.uniform(0, period))
    orbit = _orbit(star, 2 * period, t0, ratio, rng.uniform(0, 1), scale=1.2 * 2 ** (-2 / 3))
    second = replace(orbit, t0=t0 + period)
    return _eclipses(orbit, second, time, weight=float(rng.uniform(0.2, 0.7)), dilution=dilution)


def _eclipses(
    first: Orbit, second: Orbit | None, time: np.ndarray, *, weight: float = 0.0, dilution: float = 1.0
) -> Signal:
    lost = 1 - _see(first, time)
    if second is not None:
        lost += weight * (1 - _see(second, time))
    light = 1 - dilution * lost
    return Signal(light, first.period, first.t0, float(1 - light.min()), first.duration)


def _dropout(star: Star, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A jump of the sensitivity, with an exponential recovery."""
    at = int(rng.integers(time.size // 32, time.size - time.size // 32))
    light = np.ones(time.size)
    light[at:] += 1e-6 * star.cdpp6 * rng.normal(0, 5)
    decay = np.exp(-(time[at:] - time[at]) / rng.uniform(0.3, 3))
    light[at:] += 1e-6 * star.cdpp6 * rng.normal(0, 20) * decay
    return light


def _flares(star: Star, time: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sudden rises with exponential decays."""
    light = np.ones(time.size)
    for _ in range(int(rng.integers(1, 12))):
        start = int(np.searchsorted(time, rng.uniform(0, time[-1])))
        height = 1e-6 * star.cdpp6 * 10 ** rng.uniform(0.5, 1.8)
        light[start:] += height * np.exp(-(time[start:] - time[start]) / rng.uniform(0.02, 0.2))
    return light
