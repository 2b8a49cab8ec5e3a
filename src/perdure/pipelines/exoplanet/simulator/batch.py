"""Many simulated stars as one `Curves`; each is a pure function of (seed, star index)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import CADENCE_DAYS, LENGTH, Curves
from perdure.pipelines.exoplanet.simulator import signal
from perdure.pipelines.exoplanet.simulator.star import draw_star, observe, variability

_SHORTEST = 128  # points: two events of the shortest period, with room to spare
_NUMBERS = ("kp", "cdpp6_ppm", "mes", "period_d", "t0_d", "depth_ppm", "duration_d")


@dataclass(frozen=True, slots=True)
class _Sky:
    """What all stars of one simulation share."""

    seed: int
    planet_share: float
    mes: tuple[float, float]
    time: np.ndarray


def simulate(
    seed: int,
    stars: range | Sequence[int],
    *,
    planet_share: float,
    difficulty: str = "medium",
    length: int = LENGTH,
) -> Curves:
    """Simulate the named stars: relative flux around 1, NaN in gaps.

    planet_share: share of planets; any run of consecutive stars holds it to within one star.
    difficulty:   range of the planets' multiple-event statistic: "easy", "medium" or "hard".
    Columns: kind; kp; cdpp6_ppm; and for eclipses mes (realised, after gaps), period_d, t0_d (days after
    the first point), depth_ppm, duration_d; NaN where there is none.
    Raises UsageError for a share outside [0, 1], an unknown difficulty, a negative star or a short length.
    """
    _check(planet_share, difficulty, length, stars)
    sky = _Sky(seed, planet_share, signal.DIFFICULTIES[difficulty], np.arange(length) * CADENCE_DAYS)
    flux = np.empty((len(stars), length), dtype=np.float32)
    kinds: list[str] = []
    numbers = np.full((len(_NUMBERS), len(stars)), math.nan)
    for row, index in enumerate(stars):
        kind, values = _simulate_star(int(index), sky, flux[row])
        kinds.append(kind)
        numbers[:, row] = values
    columns = dict(zip(_NUMBERS, numbers, strict=True))
    kind_column = np.array(kinds, dtype=np.str_)
    return Curves(
        flux=flux,
        star=np.array([f"sim-{int(index):06d}" for index in stars], dtype=np.str_),
        label=(kind_column == "planet").astype(np.int8),
        columns={"kind": kind_column, **columns},
    )


def _check(planet_share: float, difficulty: str, length: int, stars: Sequence[int]) -> None:
    if not 0 <= planet_share <= 1:
        raise UsageError(f"planet_share is {planet_share}; give a share between 0 and 1")
    if difficulty not in signal.DIFFICULTIES:
        raise UsageError(f"difficulty is {difficulty!r}; choose one of {', '.join(signal.DIFFICULTIES)}")
    if length < _SHORTEST:
        raise UsageError(f"length is {length}; a simulated curve needs at least {_SHORTEST} points")
    if len(stars) and min(stars) < 0:
        raise UsageError(f"star {min(stars)} is negative; star indices count from 0")


def _simulate_star(index: int, sky: _Sky, flux: np.ndarray) -> tuple[str, list[float]]:
    """Write one star's flux into `flux` (length,) float32; return its kind and the values of _NUMBERS."""
    rng = np.random.default_rng([sky.seed, index])
    star = draw_star(rng)
    kind = _kind(index, sky, rng)
    happening = signal.draw_signal(kind, star, sky.time, rng, mes=sky.mes)
    seen = variability(rng, flux.size)
    seen += star.white * rng.standard_normal(flux.size)
    seen *= 1e-6
    seen += 1
    seen *= happening.light
    observe(seen, star, rng)
    flux[:] = seen
    eclipsing = math.isfinite(happening.period)
    mes = signal.realised_mes(happening.light, star, np.isfinite(seen)) if eclipsing else math.nan
    return kind, [
        star.kp,
        star.cdpp6,
        mes,
        happening.period,
        happening.t0,
        happening.depth * 1e6,
        happening.duration,
    ]


def _kind(index: int, sky: _Sky, rng: np.random.Generator) -> str:
    """Planets at evenly spaced indices, so that even a tiny set holds its share; negatives at random."""
    draw = rng.random()
    offset = np.random.default_rng([sky.seed]).random()
    if math.floor((index + 1) * sky.planet_share + offset) > math.floor(index * sky.planet_share + offset):
        return "planet"
    return str(np.array(list(signal.NEGATIVES))[np.searchsorted(_NEGATIVE_EDGES, draw, side="right")])


_NEGATIVE_EDGES = np.cumsum(list(signal.NEGATIVES.values()))[:-1]
