"""From the network's output to a probability: the prior that nature has, then two numbers fitted on validation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from perdure.pipelines.exoplanet.learning.augmentation import Augmentation
from perdure.pipelines.exoplanet.learning.sampling import prior_correct

_EDGE = 1e-7  # probabilities are kept this far from 0 and 1, where the logit ends
_WEIGHT = 1.0  # of the pull towards "leave it as it is", in curves


@dataclass(frozen=True, slots=True)
class Calibration:
    """`sigmoid(slope * logit + shift)` after the prior correction (Platt 1999); `threshold` marks a planet."""

    trained_share: float
    natural_share: float
    slope: float = 1.0
    shift: float = 0.0
    threshold: float = 0.5

    def apply(self, output: np.ndarray) -> np.ndarray:
        """Probabilities (n,) from the network's outputs (n,)."""
        logit = self._logit(output)
        return 1 / (1 + np.exp(-(self.slope * logit + self.shift)))

    def _logit(self, output: np.ndarray) -> np.ndarray:
        clipped = np.clip(output, _EDGE, 1 - _EDGE)
        corrected = prior_correct(clipped, trained_share=self.trained_share, natural_share=self.natural_share)
        return np.log(corrected) - np.log1p(-corrected)

    def fitted(self, output: np.ndarray, label: np.ndarray) -> Calibration:
        """Slope, shift and threshold (of the best F1) from validation curves."""
        from scipy.optimize import minimize

        logit = self._logit(output)

        def loss(theta: np.ndarray) -> float:
            z = theta[0] * logit + theta[1]
            pull = _WEIGHT * ((theta[0] - 1) ** 2 + theta[1] ** 2)
            return float(np.sum(np.logaddexp(0, z) - label * z) + pull)

        slope, shift = minimize(
            loss, np.array([1.0, 0.0]), method="L-BFGS-B", bounds=[(0.05, 20), (-20, 20)]
        ).x
        fitted = Calibration(self.trained_share, self.natural_share, float(slope), float(shift))
        return Calibration(
            self.trained_share, self.natural_share, float(slope), float(shift),
            best_threshold(fitted.apply(output), label),
        )  # fmt: skip

    def as_document(self) -> dict[str, Any]:
        return asdict(self)


def shares(
    label: np.ndarray, *, shown_share: float, quiet_share: float, augmented: bool
) -> tuple[float, float]:
    """Share of planets in what training saw, and in the training part as it is; both kept inside (0, 1)."""
    trained = (
        Augmentation().positive_share(shown_share, quiet_share=quiet_share) if augmented else shown_share
    )
    natural = float(np.mean(label))
    return min(max(trained, 1e-3), 1 - 1e-3), min(max(natural, 1e-4), 1 - 1e-4)


def best_threshold(probability: np.ndarray, label: np.ndarray) -> float:
    """The threshold with the best F1; one half where there is no planet."""
    if not label.any():
        return 0.5
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(label[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + label.sum())
    return float(probability[order[int(np.argmax(f1))]])
