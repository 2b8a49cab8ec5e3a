"""How good probabilities are: at ranking, as probabilities, and at ordering the names of one day.

All are NaN where they are not defined (one class only, no rows).
"""

from __future__ import annotations

import math

import numpy as np

FEWEST_NAMES = 5  # of a day; a rank correlation of fewer is mostly -1, 0 or 1
_LEAST = 1e-7  # a forecast of exactly 0 or 1 that fails costs 16 nats and not all of them


def auc(y: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None) -> float:
    """Share of pairs (rise, fall) in the right order, ties half. y, probability, weight: (n,)."""
    rises = int(y.sum())
    if not 0 < rises < len(y):
        return math.nan
    if weight is None:  # exact, and ten times as fast as with weights
        from scipy.stats import rankdata

        ranks = float(rankdata(probability)[y == 1].sum())
        return (ranks - rises * (rises + 1) / 2) / (rises * (len(y) - rises))
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(y, probability, sample_weight=weight))


def losses(y: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(n,) each row's log-loss, in nats."""
    bounded = np.clip(probability, _LEAST, 1 - _LEAST)
    return -np.log(np.where(y == 1, bounded, 1 - bounded))


def log_loss(y: np.ndarray, probability: np.ndarray) -> float:
    """Mean of `losses`; ln 2 = 0.6931 is what always saying 0.5 costs."""
    return float(losses(y, probability).mean()) if len(y) else math.nan


def brier(y: np.ndarray, probability: np.ndarray) -> float:
    """Mean squared error of the probabilities; 0.25 is what always saying 0.5 costs."""
    return float(np.mean((probability - y) ** 2)) if len(y) else math.nan


def base_rate(y: np.ndarray) -> float:
    """Share of rises."""
    return float(y.mean()) if len(y) else math.nan


def hit_rate(y: np.ndarray, probability: np.ndarray) -> float:
    """Share of rows on the right side of 0.5; a probability of exactly 0.5 is half a hit."""
    if not len(y):
        return math.nan
    return float(np.mean(np.where(probability == 0.5, 0.5, (probability > 0.5) == (y == 1))))


def equal_count_bins(probability: np.ndarray, bins: int) -> np.ndarray:
    """(n,) the bin of each row, 0..bins-1; edges are quantiles, and ties stay together, so a bin may be empty."""
    if not len(probability):
        return np.zeros(0, np.int64)
    edges = np.quantile(probability, np.linspace(0, 1, bins + 1)[1:-1], method="lower")
    return np.searchsorted(edges, probability, side="left")


def calibration_table(y: np.ndarray, probability: np.ndarray, *, bins: int = 15) -> list[dict[str, float]]:
    """For each filled bin of equal count: rows, mean probability, share of rises."""
    place = equal_count_bins(probability, bins)
    count = np.bincount(place, minlength=bins)
    said, came = np.bincount(place, probability, bins), np.bincount(place, y, bins)
    return [
        {"n": int(count[k]), "probability": float(said[k] / count[k]), "share": float(came[k] / count[k])}
        for k in np.flatnonzero(count)
    ]


def calibration_error(y: np.ndarray, probability: np.ndarray, *, bins: int = 15) -> float:
    """Expected calibration error: |mean probability - share of rises|, averaged over rows."""
    rows = calibration_table(y, probability, bins=bins)
    return (
        sum(row["n"] * abs(row["probability"] - row["share"]) for row in rows) / len(y) if rows else math.nan
    )


def rank_ic(day: np.ndarray, probability: np.ndarray, excess: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(d,) days and (d,) Spearman correlations of probability and excess return across the names of each day.

    A day with fewer than FEWEST_NAMES names is left out, and one where all forecasts or all returns are equal.
    """
    known = np.isfinite(excess)
    days, member = np.unique(day[known], return_inverse=True)
    a, b = centred_ranks(member, probability[known]), centred_ranks(member, excess[known])
    both, left, right = (np.bincount(member, x, len(days)) for x in (a * b, a * a, b * b))
    defined = (np.bincount(member, minlength=len(days)) >= FEWEST_NAMES) & (left > 0) & (right > 0)
    return days[defined], (both[defined] / np.sqrt(left[defined] * right[defined]))


def centred_ranks(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    """(n,) rank of each value within its group less the group's mean rank; ties share their mean rank."""
    order = np.lexsort((value, group))
    ordered, groups = value[order], group[order]
    change = groups[1:] != groups[:-1]
    member, ties = (np.cumsum(np.r_[0, new]) for new in (change, change | (ordered[1:] != ordered[:-1])))
    place = np.arange(len(value), dtype=np.float64)
    ranks = np.empty(len(value))
    ranks[order] = _means(ties, place)[ties] - _means(member, place)[member] if len(value) else place
    return ranks


def icir(ic: np.ndarray) -> float:
    """Mean over standard deviation of the daily rank ICs, not annualised.

    Labels overlap, so neighbouring days agree: the square root of the days times this is no t-statistic.
    """
    return float(ic.mean() / ic.std(ddof=1)) if len(ic) > 1 and ic.std(ddof=1) > 0 else math.nan


def _means(group: np.ndarray, value: np.ndarray) -> np.ndarray:
    return np.bincount(group, value) / np.bincount(group)
