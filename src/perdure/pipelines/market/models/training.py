"""What a base model is trained on, and what one is once it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np

_CLIP = 5.0  # standard deviations; an outlier beyond says no more than that it is one


@dataclass(frozen=True, slots=True)
class Training:
    """x: (n, features) float32; y: (n,) int8, 0 or 1; weight: (n,) float64 with mean 1; config: the run's settings."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    config: Mapping[str, Any]


class Forecaster(Protocol):
    """A trained base model."""

    def logit(self, x: np.ndarray) -> np.ndarray:
        """(n,) float64 log-odds of y = 1."""
        ...

    def contributions(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """SHAP values (n, features + 1), the last column being the base value, and the outputs (n,) that their rows
        sum to; None for a model without them. Outputs are log-odds, or probabilities for forests."""
        ...


@dataclass(frozen=True, slots=True)
class Scaler:
    """Centres and scales features by what the training rows have. mean, deviation: (features,) float64."""

    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Self:
        deviation = np.nanstd(x, axis=0, dtype=np.float64)
        mean = np.asarray(np.nanmean(x, axis=0, dtype=np.float64))
        return cls(mean, np.where(deviation > 0, deviation, 1.0))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """(n, features) float32; what is missing becomes the mean."""
        scaled = np.clip((x - self.mean) / self.deviation, -_CLIP, _CLIP)
        return np.nan_to_num(scaled, nan=0.0).astype(np.float32)


def log_odds(probability: np.ndarray) -> np.ndarray:
    """(n,) float64, of probabilities kept off 0 and 1."""
    clipped = np.clip(np.asarray(probability, np.float64), 1e-6, 1 - 1e-6)
    return np.log(clipped / (1 - clipped))


def chances(logit: np.ndarray) -> np.ndarray:
    """(n,) float64 probabilities of log-odds."""
    return 1.0 / (1.0 + np.exp(-np.asarray(logit, np.float64)))
