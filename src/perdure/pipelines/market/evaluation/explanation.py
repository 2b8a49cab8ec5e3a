"""What the models' contributions (SHAP values) say, and whether they add up to the scores they explain.

Contributions of a model: (n, k + 1), one column a feature and the base value last, in log-odds; a row's sum is the raw
score of its forecast (Lundberg & Lee 2017, "local accuracy").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.errors import UsageError

TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Additivity:
    """gap: largest |sum of a row - raw score| over the row's scale; passed: whether it is within TOLERANCE."""

    gap: float
    passed: bool


def additivity(
    contributions: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray]
) -> dict[str, Additivity]:
    """For each model, whether its contributions (n, k + 1) add up to its raw scores (n,).

    The scale of a row is the sum of its |contributions|: rounding grows with the terms, however well they cancel.
    Raises UsageError where shapes do not fit.
    """
    return {name: _additivity(name, values, scores[name]) for name, values in contributions.items()}


def summary(
    contributions: Mapping[str, np.ndarray], names: Sequence[str], groups: Sequence[str]
) -> dict[str, Any]:
    """Mean |contribution| by feature and by group, largest first, as JSON values.

    names, groups: (k,) of each feature. A share is of a model's whole; `share` is the mean of the models', so that a
    model with large log-odds does not drown the others.
    """
    means = {name: np.abs(values[:, :-1]).mean(axis=0) for name, values in contributions.items()}
    _check_names(means, names, groups)
    shares = {name: mean / max(float(mean.sum()), 1e-300) for name, mean in means.items()}
    share = np.mean(list(shares.values()), axis=0)
    features = [
        {
            "feature": names[k],
            "group": groups[k],
            "share": float(share[k]),
            "mean_by_model": {model: float(mean[k]) for model, mean in means.items()},
        }
        for k in _falling(share)
    ]
    return {"features": features, "groups": _by_group(shares, share, groups)}


def in_words(
    contributions: np.ndarray, values: np.ndarray, names: Sequence[str], *, heading: str, top: int = 10
) -> str:
    """One forecast, told as text: contributions (k + 1,), values (k,) of the features.

    Each line is a feature, its value and what it adds to the log-odds of a rise; the rest is one line, so that the
    lines add up to the score.
    """
    parts, base = contributions[:-1], float(contributions[-1])
    score, order = float(np.sum(parts)) + base, _falling(np.abs(parts))
    chosen, rest = order[:top], order[top:]
    lines = [f"{heading}: probability of a rise {_chance(score):.1%} (log-odds {score:+.4f})"]
    lines += [f"  {base:+.4f}  base value, {_chance(base):.1%}: what is said when nothing is known"]
    lines += [f"  {parts[k]:+.4f}  {names[k]} = {values[k]:.4g}" for k in chosen]
    if len(rest):
        lines += [f"  {float(np.sum(parts[rest])):+.4f}  the other {len(rest)} features together"]
    return "\n".join(lines)


def _additivity(name: str, values: np.ndarray, score: np.ndarray) -> Additivity:
    if values.ndim != 2 or len(values) != len(score):
        raise UsageError(
            f"{name}: contributions of shape {values.shape} for {len(score)} scores; give one row a score"
        )
    if not len(score):
        return Additivity(0.0, True)
    wide = values.astype(np.float64)
    scale = np.maximum(np.abs(wide).sum(axis=1), 1e-12)
    gap = float(np.max(np.abs(wide.sum(axis=1) - score) / scale))
    return Additivity(gap, gap <= TOLERANCE)


def _by_group(
    shares: Mapping[str, np.ndarray], share: np.ndarray, groups: Sequence[str]
) -> list[dict[str, Any]]:
    kinds, member = np.unique(np.asarray(groups), return_inverse=True)
    total = np.bincount(member, share, len(kinds))
    by_model = {name: np.bincount(member, values, len(kinds)) for name, values in shares.items()}
    return [
        {
            "group": str(kinds[k]),
            "features": int(np.sum(member == k)),
            "share": float(total[k]),
            "share_by_model": {name: float(values[k]) for name, values in by_model.items()},
        }
        for k in _falling(total)
    ]


def _check_names(means: Mapping[str, np.ndarray], names: Sequence[str], groups: Sequence[str]) -> None:
    wrong = {name: len(mean) for name, mean in means.items() if len(mean) != len(names)}
    if wrong or len(groups) != len(names):
        raise UsageError(
            f"{len(names)} names and {len(groups)} groups for contributions of {wrong or 'as many'} features; "
            "give each feature one of both, and the base value as the last column"
        )


def _falling(x: np.ndarray) -> np.ndarray:
    return np.argsort(-x, kind="stable")


def _chance(score: float) -> float:
    return float(1 / (1 + np.exp(-score)))
