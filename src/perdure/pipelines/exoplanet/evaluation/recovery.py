"""Which planets a trained model would find: transits put into quiet curves, and how many come back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import CADENCE_DAYS
from perdure.pipelines.exoplanet.simulator.transit import Orbit, transit

PERIODS = (0.6, 1.5, 3.0, 6.0, 12.0, 32.0)  # days, edges of the map's columns
STRENGTHS = (5.0, 8.0, 12.0, 20.0, 40.0, 100.0)  # multiple-event statistic, edges of its rows


@dataclass(frozen=True, slots=True)
class RecoveryMap:
    """rate, count: (strengths, periods) share found and number injected, in cells between the edges."""

    periods: tuple[float, ...]
    strengths: tuple[float, ...]
    found: np.ndarray
    count: np.ndarray

    @property
    def rate(self) -> np.ndarray:
        return np.divide(self.found, self.count, out=np.full(self.count.shape, np.nan), where=self.count > 0)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> RecoveryMap:
        found, count = np.array(document["found"]), np.array(document["count"])
        return cls(tuple(document["periods_d"]), tuple(document["mes"]), found, count)

    def as_document(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "periods_d": list(self.periods),
            "mes": list(self.strengths),
            "found": self.found.tolist(),
            "count": self.count.tolist(),
        }


def recover(
    predict: Callable[[np.ndarray], np.ndarray],
    flux: np.ndarray,
    *,
    seed: int,
    per_cell: int = 20,
    threshold: float = 0.5,
    periods: Sequence[float] = PERIODS,
    strengths: Sequence[float] = STRENGTHS,
) -> RecoveryMap:
    """Inject `per_cell` transits into each cell of the map and count those predicted at or over the threshold.

    predict: raw curves (m, length) float32, NaN in gaps -> probability (m,); called once a cell.
    flux:    (n, length) raw curves of quiet stars in any unit; each injection draws one of them.
    Periods that two events do not fit in are cut off. Raises UsageError without a quiet curve.
    """
    if len(flux) == 0:
        raise UsageError("no quiet curve to inject transits into; give curves labelled as without a planet")
    span = flux.shape[1] * CADENCE_DAYS
    edges = [p for p in periods if p < 0.49 * span]
    if len(edges) < len(periods):
        edges.append(0.49 * span)
    shape = (len(strengths) - 1, len(edges) - 1)
    found = np.zeros(shape, dtype=np.int64)
    for row in range(shape[0]):
        for column in range(shape[1]):
            rng = np.random.default_rng([seed, row, column])
            drawn = [
                inject(
                    flux[rng.integers(len(flux))],
                    period=_log_uniform(rng, edges[column], edges[column + 1]),
                    mes=_log_uniform(rng, strengths[row], strengths[row + 1]),
                    rng=rng,
                )
                for _ in range(per_cell)
            ]
            found[row, column] = int((np.asarray(predict(np.stack(drawn))).ravel() >= threshold).sum())
    return RecoveryMap(tuple(edges), tuple(map(float, strengths)), found, np.full(shape, per_cell))


def inject(flux: np.ndarray, *, period: float, mes: float, rng: np.random.Generator) -> np.ndarray:
    """A copy of one raw curve (length,) with a planet of this multiple-event statistic.

    Transits are subtracted, scaled to the curve's own noise from point to point, so that the unit and
    the zero point of the flux do not matter. Solar star, impact parameter up to 0.9.
    """
    time = np.arange(flux.size) * CADENCE_DAYS
    orbit = Orbit(
        period=period,
        t0=float(rng.uniform(0, period)),
        ratio=0.05,
        a=4.2 * period ** (2 / 3),
        impact=float(rng.uniform(0, 0.9)),
        u1=0.45,
        u2=0.2,
    )
    shape = 1 - transit(time, orbit, exposure=CADENCE_DAYS)
    seen = shape[np.isfinite(flux)]
    power = float(np.dot(seen, seen))
    scale = mes * point_noise(flux) / np.sqrt(power) if power > 0 else 0.0
    return (flux - scale * shape).astype(np.float32)


def point_noise(flux: np.ndarray) -> float:
    """Noise of one point, from the median step to the next: slow changes and rare dips do not count."""
    steps = np.abs(np.diff(flux.astype(np.float64)))
    return float(1.4826 / np.sqrt(2) * np.median(steps[np.isfinite(steps)]))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
