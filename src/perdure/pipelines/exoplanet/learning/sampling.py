"""Which training rows an epoch shows: a fixed share of planets, whatever their share in nature."""

from __future__ import annotations

import numpy as np

from perdure.errors import UsageError

_NEGATIVE, _POSITIVE, _ORDER = 0, 1, 2  # streams of one seed


def epoch_rows(
    labels: np.ndarray, *, seed: int, epoch: int, share: float, rows: int | None = None
) -> np.ndarray:
    """Indices of the training rows of one epoch, in order: (rows,) int64; a pure function of (seed, epoch).

    share: share of positives, exact to one row. rows: how many in all, by default as many as there are.
    Each class is walked through in shuffled rounds that go on from epoch to epoch: no row is shown a
    second time before all others of its class were shown once, so repeats favour nobody.
    Raises UsageError when a class that is asked for is empty, or for a label that is not 0 or 1.
    """
    labels = np.asarray(labels)
    if not np.isin(labels, (0, 1)).all():
        raise UsageError("training labels must be 0 or 1; leave curves of unknown label out")
    if not 0 <= share <= 1:
        raise UsageError(f"the share of positives is {share}; give a share between 0 and 1")
    total = len(labels) if rows is None else rows
    positives = round(total * share)
    chosen = np.concatenate(
        [
            _take(np.flatnonzero(labels == 1), seed, _POSITIVE, epoch * positives, positives),
            _take(
                np.flatnonzero(labels == 0), seed, _NEGATIVE, epoch * (total - positives), total - positives
            ),
        ]
    )
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(chosen)


def repeats(rows: np.ndarray) -> np.ndarray:
    """For each place in an epoch, how often its row was shown before: (n,) int64."""
    order = np.argsort(rows, kind="stable")
    ordered = rows[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(rows) else np.zeros(0, np.int64)
    counted = np.arange(len(rows)) - np.repeat(first, np.diff(np.r_[first, len(rows)]))
    seen = np.empty(len(rows), dtype=np.int64)
    seen[order] = counted
    return seen


def prior_correct(probability: np.ndarray, *, trained_share: float, natural_share: float) -> np.ndarray:
    """Probabilities under the natural share of positives, from a model trained under another share.

    Bayes: the odds are multiplied by the ratio of the prior odds (Saerens, Latinne & Decaestecker 2002, eq. 4).
    """
    for name, share in (("trained_share", trained_share), ("natural_share", natural_share)):
        if not 0 < share < 1:
            raise UsageError(f"{name} is {share}; a share between 0 and 1, both excluded, is needed")
    planet = np.asarray(probability, dtype=np.float64) * (natural_share / trained_share)
    other = (1 - np.asarray(probability, dtype=np.float64)) * ((1 - natural_share) / (1 - trained_share))
    return planet / (planet + other)


def _take(members: np.ndarray, seed: int, stream: int, start: int, count: int) -> np.ndarray:
    """Places start..start+count of an endless sequence of shuffled rounds over `members`."""
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    if len(members) == 0:
        raise UsageError(f"{count} {'positive' if stream else 'negative'} rows are wanted and there are none")
    first, last = start // len(members), (start + count - 1) // len(members)
    rounds = [np.random.default_rng([seed, stream, r]).permutation(members) for r in range(first, last + 1)]
    begin = start - first * len(members)
    return np.concatenate(rounds)[begin : begin + count].astype(np.int64)
