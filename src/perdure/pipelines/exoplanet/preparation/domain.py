"""Is a curve like those the network was trained on? What it says about others is worth nothing.

Five numbers describe a curve; the domain is the range of each over the training part, and a margin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from perdure.errors import FormatError, UsageError

_FORMAT = 1
MEASURES = ("missing", "roughness", "tails", "skew", "depth")
_QUANTILES = (0.001, 0.999)
_MARGIN = 0.05  # of the range between the quantiles, on either side
_CADENCE_TOLERANCE = 0.1


def describe(flux: np.ndarray, prepared: np.ndarray) -> np.ndarray:
    """Five measures (n, 5) float64 of curves as read (n, m) and as prepared (n, length).

    missing:   share of cadences without a measurement;
    roughness: root mean square of the differences of neighbours over that of the values: 1.41 for white noise,
               less for anything smooth;
    tails:     share of values beyond 4 sigma, of which a normal distribution has 0.00006;
    skew:      share of these that lie below, less the share above, over both and one more value;
    depth:     the lowest value, in sigma.
    """
    out = np.empty((len(prepared), len(MEASURES)))
    for start in range(0, len(prepared), 1024):  # in chunks, for prepared curves may be memory-mapped
        rows = slice(start, start + 1024)
        out[rows] = _describe(np.asarray(flux[rows]), np.asarray(prepared[rows]))
    return out


def _describe(flux: np.ndarray, prepared: np.ndarray) -> np.ndarray:
    power = np.einsum("nk,nk->n", prepared, prepared, dtype=np.float64)
    steps = np.diff(prepared, axis=1)
    roughness = np.sqrt(np.einsum("nk,nk->n", steps, steps, dtype=np.float64) / np.maximum(power, 1e-30))
    below = (prepared < -4).sum(axis=1)
    above = (prepared > 4).sum(axis=1)
    missing = 1 - np.isfinite(flux).mean(axis=1)
    tails = (below + above) / prepared.shape[1]
    skew = (below - above) / (below + above + 1)
    return np.column_stack([missing, roughness, tails, skew, prepared.min(axis=1)])


@dataclass(frozen=True, slots=True)
class Domain:
    """The range of each of `MEASURES` over the training part, and its cadence in days (None if unknown)."""

    low: tuple[float, ...]
    high: tuple[float, ...]
    cadence_d: float | None

    @classmethod
    def of(cls, measures: np.ndarray, *, cadence_d: float | None = None) -> Self:
        """The domain of training curves from their measures (n, 5)."""
        if not len(measures):
            raise UsageError("a training domain needs at least one curve")
        low, high = np.quantile(measures, _QUANTILES, axis=0)
        margin = _MARGIN * (high - low)
        return cls(tuple((low - margin).tolist()), tuple((high + margin).tolist()), cadence_d)

    def flags(self, measures: np.ndarray, *, cadence_d: float | None = None) -> list[list[str]]:
        """For each curve the reasons why it lies outside, empty for one inside. Measures: (n, 5)."""
        flagged: list[list[str]] = []
        common = self._cadence_flag(cadence_d)
        for values in measures.tolist():
            reasons = [
                f"{name} is {value:.4g}, in training it was {low:.4g} to {high:.4g}"
                for name, value, low, high in zip(MEASURES, values, self.low, self.high, strict=True)
                if not low <= value <= high
            ]
            flagged.append([*common, *reasons])
        return flagged

    def _cadence_flag(self, cadence_d: float | None) -> list[str]:
        if cadence_d is None or self.cadence_d is None:
            return []
        if abs(cadence_d / self.cadence_d - 1) <= _CADENCE_TOLERANCE:
            return []
        minutes, trained = 1440 * cadence_d, 1440 * self.cadence_d
        return [f"its cadence is {minutes:.3g} min, in training it was {trained:.3g} min"]

    def document(self) -> dict[str, Any]:
        """The domain as a JSON document."""
        ranges = {name: [low, high] for name, low, high in zip(MEASURES, self.low, self.high, strict=True)}
        return {"format": _FORMAT, "ranges": ranges, "cadence_d": self.cadence_d}

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """The domain that a document describes."""
        ranges = document.get("ranges", {})
        if document.get("format") != _FORMAT or set(ranges) != set(MEASURES):
            raise FormatError(
                f"a training domain of format {document.get('format')!r} with {sorted(ranges)} was found; "
                f"this version reads format {_FORMAT} with {sorted(MEASURES)}; use the version of perdure "
                "that wrote it"
            )
        low, high = zip(*(ranges[measure] for measure in MEASURES), strict=True)
        return cls(tuple(low), tuple(high), document["cadence_d"])
