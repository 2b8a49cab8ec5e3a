"""Whether features still look as they did in training: the population stability index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from perdure.errors import UsageError

LIMIT = 0.25  # above it a feature counts as drifted
_LEAST = 1e-4  # stands for an empty bin; its logarithm would be infinite


def drift(
    reference: np.ndarray, newest: np.ndarray, names: Sequence[str], *, bins: int = 10
) -> dict[str, Any]:
    """Per-feature indices, greatest first, and the share of features below LIMIT, as JSON values.

    reference: (n, k) the training part. newest: (m, k). Raises UsageError when they do not fit each other.
    """
    if not (reference.shape[1] == newest.shape[1] == len(names)) or not (len(reference) and len(newest)):
        raise UsageError(
            f"cannot compare features of shapes {reference.shape} and {newest.shape} under {len(names)} names; "
            "give two matrices with rows and the same columns"
        )
    indices = stability_index(reference, newest, bins=bins)
    ranked = sorted(range(len(names)), key=lambda k: (-indices[k], names[k]))
    return {
        "share_stable": float(np.mean(indices < LIMIT)),
        "limit": LIMIT,
        "features": [{"name": names[k], "psi": float(indices[k])} for k in ranked],
    }


def stability_index(reference: np.ndarray, newest: np.ndarray, *, bins: int = 10) -> np.ndarray:
    """(k,) the sum over bins of (new - old) ln(new / old), of shares; (n, k) and (m, k).

    Bins are quantiles of the reference; NaN is a bin of its own. A feature with at most `bins` values in the reference
    (a pattern, a flag, a constant) has one bin for each, and one for all values that were not seen.
    """
    return np.array([_index(reference[:, k], newest[:, k], bins) for k in range(reference.shape[1])])


def _index(reference: np.ndarray, newest: np.ndarray, bins: int) -> float:
    known = np.unique(reference[~np.isnan(reference)])
    if len(known) <= bins:
        old, new = _by_value(reference, known), _by_value(newest, known)
        size = len(known) + 2
    else:
        edges = np.unique(np.nanquantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
        old, new = _by_range(reference, edges), _by_range(newest, edges)
        size = len(edges) + 2
    before, after = (np.maximum(np.bincount(x, minlength=size) / len(x), _LEAST) for x in (old, new))
    return math.fsum((after - before) * np.log(after / before))


def _by_value(x: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The place of each value among the known; then not seen, then NaN."""
    place = np.searchsorted(known, x)
    seen = np.r_[known, np.nan][place] == x
    return np.where(np.isnan(x), len(known) + 1, np.where(seen, place, len(known)))


def _by_range(x: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The range of each value; then NaN."""
    return np.where(np.isnan(x), len(edges) + 1, np.searchsorted(edges, x))
