"""Two lines that a network must be seen against.

Box least squares is what a careful search without learning reaches. The metadata baseline sees no light
curve at all, only how it was measured: where that suffices to tell planets, the data leaks its labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import CADENCE_DAYS
from perdure.pipelines.exoplanet.evaluation import ranking
from perdure.pipelines.exoplanet.evaluation.ranking import Ranking

LEAK_AUC = 0.6  # of metadata alone; above it the report warns
_BINS = 200  # phase bins of a folded curve
_SHORTEST, _LONGEST = 0.6, 32.0  # days


@dataclass(frozen=True, slots=True)
class BoxFits:
    """The best periodic box dip of each curve, (n,) each: signal-to-noise, period and mid-event in days.

    score 0, period and t0 NaN for a curve without variation.
    """

    score: np.ndarray
    period: np.ndarray
    t0: np.ndarray


def box_search(flux: np.ndarray) -> BoxFits:
    """Box least squares (Kovacs, Zucker & Mazeh 2002) over preprocessed curves (n, length); zeros are gaps.

    Points are taken in pairs, folded and binned; periods from 0.6 days to half the curve.
    """
    flux = np.ascontiguousarray(flux, dtype=np.float32)
    periods = _periods(flux.shape[1])
    fits = _search(flux, periods, _widths(periods))
    return BoxFits(*fits.T)


def area(score: np.ndarray, label: np.ndarray) -> float:
    """AUC of any score."""
    return ranking.auc(Ranking.of(np.asarray(score, dtype=np.float64), np.asarray(label)).counts())


def _periods(length: int) -> np.ndarray:
    """Spaced so that over the whole curve an event drifts by at most half of its duration."""
    span = length * CADENCE_DAYS
    longest = min(_LONGEST, 0.5 * span)
    periods = [_SHORTEST]
    while periods[-1] < longest:
        period = periods[-1]
        periods.append(period + period * _expected_duration(period) / (2 * span))
    return np.array(periods[:-1])


def _expected_duration(period: float) -> float:
    """Days, for a star like the Sun (Kepler's third law)."""
    return float(0.107 * period ** (1 / 3))


def _widths(periods: np.ndarray) -> np.ndarray:
    """Box widths in phase bins, (periods, 4): from 0.4 to 1.6 of the expected duration."""
    share = 0.107 * periods ** (1 / 3) / periods
    widths = np.rint(share[:, None] * np.array([0.4, 0.7, 1.1, 1.6]) * _BINS).astype(np.int64)
    return np.maximum(1, widths)


@numba.njit(cache=True, nogil=True)
def _search(flux: np.ndarray, periods: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """(n, 3): score, period, t0."""
    fits = np.full((flux.shape[0], 3), np.nan)
    fits[:, 0] = 0.0
    sums, counts = np.empty(2 * _BINS), np.empty(2 * _BINS)
    dips, seen = np.empty(flux.shape[1] // 2), np.empty(flux.shape[1] // 2)
    for row in range(flux.shape[0]):
        scatter = _pair(flux[row], dips, seen)
        if scatter == 0.0:
            continue
        measured = seen.sum()
        for p in range(periods.size):
            _fold(dips, seen, 2 * CADENCE_DAYS / periods[p], sums, counts)
            for w in range(widths.shape[1]):
                found, centre = _best_box(sums, counts, widths[p, w], measured)
                if found > fits[row, 0] * scatter:
                    fits[row, 0] = found / scatter
                    fits[row, 1] = periods[p]
                    fits[row, 2] = centre / _BINS % 1.0 * periods[p] + 0.5 * CADENCE_DAYS
    return fits


@numba.njit(cache=True)
def _pair(curve: np.ndarray, dips: np.ndarray, seen: np.ndarray) -> float:
    """Sum of (mean - flux) and number of points for each pair of neighbours; returns the scatter of a point."""
    count, total, square = 0, 0.0, 0.0
    for i in range(curve.size):
        if curve[i] != 0.0:
            count += 1
            total += curve[i]
            square += curve[i] * curve[i]
    if count < 2 or square * count <= total * total:
        return 0.0
    mean = total / count
    for k in range(dips.size):
        dips[k], seen[k] = 0.0, 0.0
        for i in range(2 * k, 2 * k + 2):
            if curve[i] != 0.0:
                dips[k] += mean - curve[i]
                seen[k] += 1.0
    return math.sqrt(square / count - mean * mean)


@numba.njit(cache=True)
def _fold(dips: np.ndarray, seen: np.ndarray, step: float, sums: np.ndarray, counts: np.ndarray) -> None:
    """Sums per phase bin, written twice over so that a box may wrap around."""
    sums[:_BINS] = 0.0
    counts[:_BINS] = 0.0
    phase = 0.0
    for k in range(dips.size):
        place = int(phase * _BINS)
        sums[place] += dips[k]
        counts[place] += seen[k]
        phase += step
        if phase >= 1.0:
            phase -= 1.0
    for b in range(_BINS):  # assigned as a whole, they would take numba 3 s more to compile
        sums[_BINS + b], counts[_BINS + b] = sums[b], counts[b]


@numba.njit(cache=True)
def _best_box(sums: np.ndarray, counts: np.ndarray, width: int, seen: float) -> tuple[float, float]:
    """Over all boxes of one width: greatest depth over its error for a scatter of 1, and its centre in bins."""
    dip, inside, best, centre = 0.0, 0.0, 0.0, 0.0
    for i in range(width):
        dip += sums[i]
        inside += counts[i]
    for start in range(_BINS):
        if dip > 0.0 and inside >= 3 and inside < seen:
            power = dip * dip / (inside * (1 - inside / seen))
            if power > best:
                best, centre = power, start + width / 2
        dip += sums[start + width] - sums[start]
        inside += counts[start + width] - counts[start]
    return math.sqrt(best), centre


@dataclass(frozen=True, slots=True)
class MetadataBaseline:
    """AUC of metadata alone: cross-fitted on the training part, and on the test part; what to say of it."""

    train_auc: float
    test_auc: float
    features: tuple[str, ...]
    warning: str | None


def metadata(flux: np.ndarray, columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What is known of raw curves (n, length), NaN in gaps, without their shape in time.

    The share of missing points, the number of gaps, the longest gap, the scatter from one point to the
    next, and the magnitude `kp` when the columns have one.
    """
    missing = ~np.isfinite(flux)
    with np.errstate(invalid="ignore"):
        steps = np.abs(np.diff(flux, axis=1))
    scatter = np.array([np.median(row[np.isfinite(row)]) if np.isfinite(row).any() else 0.0 for row in steps])
    known = {
        "missing_share": missing.mean(axis=1),
        "gaps": (missing[:, 1:] & ~missing[:, :-1]).sum(axis=1) + missing[:, 0],
        "longest_gap": np.array([_longest_run(row) for row in missing]),
        "log_scatter": np.log10(np.maximum(scatter, 1e-12)),
    }
    if "kp" in columns:
        known["kp"] = columns["kp"]
    return {name: np.asarray(values, dtype=np.float64) for name, values in known.items()}


def metadata_baseline(
    train: Mapping[str, np.ndarray],
    train_label: np.ndarray,
    test: Mapping[str, np.ndarray],
    test_label: np.ndarray,
    *,
    seed: int,
    folds: int = 5,
) -> MetadataBaseline:
    """Logistic regression on metadata, each feature with its square; `warning` when the test AUC is over 0.6.

    Raises UsageError when the two parts have different features.
    """
    if set(train) != set(test):
        raise UsageError(
            f"metadata of the parts differ: {sorted(train)} and {sorted(test)}; compute both alike"
        )
    names = tuple(sorted(train))
    x, z = (np.column_stack([part[name] for name in names]) for part in (train, test))
    x, z = _design(x, x), _design(z, x)
    fold = np.random.default_rng([seed, 2]).permutation(len(x)) % folds
    held_out = np.empty(len(x))
    for k in range(folds):
        held_out[fold == k] = x[fold == k] @ _logistic(x[fold != k], train_label[fold != k])
    train_auc = area(held_out, train_label)
    test_auc = area(z @ _logistic(x, train_label), test_label)
    warning = None
    if test_auc > LEAK_AUC:
        warning = (
            f"metadata alone ({', '.join(names)}) tells planets with an AUC of {test_auc:.3f}, over {LEAK_AUC}: "
            "the data may leak its labels; look at how the two classes were collected"
        )
    return MetadataBaseline(train_auc, test_auc, names, warning)


def _longest_run(missing: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.r_[False, missing, False]))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _design(x: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Standardised by the reference, unknown values at its mean, with squares and a constant."""
    mean, scale = np.nanmean(reference, axis=0), np.nanstd(reference, axis=0)
    standard = np.nan_to_num((x - mean) / np.where(scale > 0, scale, 1))
    standard = np.clip(standard, -5, 5)
    return np.column_stack([standard, standard**2, np.ones(len(x))])


def _logistic(x: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Coefficients under a light ridge penalty, classes weighted alike."""
    from scipy.optimize import minimize

    sign = np.where(label == 1, 1.0, -1.0)
    positives = max(1, int((sign > 0).sum()))
    negatives = max(1, len(sign) - positives)
    weight = np.where(sign > 0, 0.5 / positives, 0.5 / negatives)

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x @ beta)
        slope = -weight * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        return float(weight @ np.logaddexp(0, -margin) + 5e-4 * beta @ beta), x.T @ slope + 1e-3 * beta

    return np.asarray(minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B").x)
