"""The meta-learner: logistic regression over the base models' log-odds and the regime, calibrated.

All of it goes forward as the base models do: the forecasts of block k come from a meta-learner trained on the blocks
before it, and from a calibration fitted on forecasts that were made in that same way. The first block has nothing
before it: there the mean of the base models stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from perdure.pipelines.market.models.training import chances

REGIMES = 6
_CAP = 4.0  # log-odds; no market gives more
_RIDGE = 1.0


@dataclass(frozen=True, slots=True)
class Logistic:
    """weights: (k,) float64; bias: float."""

    weights: np.ndarray
    bias: float

    @classmethod
    def of(cls, inputs: np.ndarray, y: np.ndarray, weight: np.ndarray, *, ridge: float = _RIDGE) -> Self:
        """Fitted with an L2 penalty; inputs (n, k), y (n,) 0 or 1, weight (n,)."""
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1.0 / ridge, max_iter=1000).fit(inputs, y, sample_weight=weight)
        return cls(model.coef_[0].astype(np.float64), float(model.intercept_[0]))

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        return np.einsum("nk,k->n", np.asarray(inputs, np.float64), self.weights) + self.bias


@dataclass(frozen=True, slots=True)
class MetaLearner:
    """A combination of base models, and the calibration of its log-odds."""

    combination: Logistic
    calibration: Logistic

    def probability(self, logits: np.ndarray, regime: np.ndarray) -> np.ndarray:
        """(n,) float64, from log-odds (n, models) and regimes (n,)."""
        score = self.combination(_inputs(logits, regime))
        return chances(self.calibration(score[:, None]))

    def document(self) -> dict[str, Any]:
        """JSON values."""
        return {
            name: {"weights": part.weights.tolist(), "bias": part.bias}
            for name, part in (("combination", self.combination), ("calibration", self.calibration))
        }

    @classmethod
    def of(cls, document: dict[str, Any]) -> Self:
        """The meta-learner of a `document`."""
        return cls(
            *(
                Logistic(np.array(document[name]["weights"], np.float64), float(document[name]["bias"]))
                for name in ("combination", "calibration")
            )
        )


_UNCHANGED = Logistic(np.ones(1), 0.0)


@dataclass(frozen=True, slots=True)
class Samples:
    """What the meta-learner sees. logits: (n, models); regime, block: (n,) int; y, weight: (n,); day, t1: (n,) days.

    block: 0, 1, ... of the forward folds.
    """

    logits: np.ndarray
    regime: np.ndarray
    block: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    day: np.ndarray
    t1: np.ndarray

    def over_before(self, moment: np.datetime64) -> np.ndarray:
        """(n,) bool: rows whose labels had ended."""
        return self.t1 < moment


def forward(samples: Samples) -> np.ndarray:
    """(n,) probabilities, each made by what was known before its block."""
    return chances(_forward(samples)[1])


def final(samples: Samples, *, before: np.datetime64) -> MetaLearner:
    """The meta-learner of all blocks, from labels that ended before a day."""
    known = samples.over_before(before)
    scores, _ = _forward(samples)
    return MetaLearner(_combination(samples, known), _calibration(samples, scores, known))


def _forward(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds (n,) of each block by the blocks before it, as combined and as calibrated."""
    scores = np.clip(samples.logits.mean(axis=1), -_CAP, _CAP)
    calibrated = scores.copy()
    for block in range(1, int(samples.block.max()) + 1):
        here = samples.block == block
        known = samples.over_before(samples.day[here].min())
        combination = _combination(samples, known)
        scores[here] = combination(_inputs(samples.logits[here], samples.regime[here]))
        calibrated[here] = _calibration(samples, scores, known)(scores[here][:, None])
    return scores, calibrated


def _combination(samples: Samples, known: np.ndarray) -> Logistic:
    inputs = _inputs(samples.logits[known], samples.regime[known])
    return Logistic.of(inputs, samples.y[known], samples.weight[known])


def _calibration(samples: Samples, scores: np.ndarray, known: np.ndarray) -> Logistic:
    """Platt scaling on forecasts of later blocks than the first; none where there are not any yet."""
    fit = known & (samples.block > 0)
    if len(np.unique(samples.y[fit])) < 2:
        return _UNCHANGED
    return Logistic.of(scores[fit][:, None], samples.y[fit], samples.weight[fit], ridge=1e-3)


def _inputs(logits: np.ndarray, regime: np.ndarray) -> np.ndarray:
    """(n, models + 6) float64: log-odds, capped, and the regime one-hot."""
    return np.hstack([np.clip(logits, -_CAP, _CAP), np.eye(REGIMES)[np.asarray(regime, np.int64)]])
