"""Which series may become curves, and how a series of any length becomes curves of one length.

A window is judged from its first measured cadence to its last; what lies outside is padding, as for a series
that was shorter from the start.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import LENGTH, Curves
from perdure.pipelines.exoplanet.reading.result import Reading, Series, UnreadableError

MOST_MISSING = 0.25  # share of a window's cadences
FEWEST_POINTS = 200
_UNEVEN = 0.25  # cadences that a step may be off a whole number
_MOST_UNEVEN = 0.05  # share of steps that may be further off


def windows(cadences: int, length: int) -> list[tuple[int, int]]:
    """(start, stop) of the windows that cover a series: one if it fits, else as few full ones as reach,
    evenly spread.

    They overlap rather than leave a remainder, so that every cadence is seen, and none beside padding. All
    belong to one star, hence to one part.
    """
    if cadences <= length:
        return [(0, cadences)]
    count = -(-cadences // length)
    starts = np.linspace(0, cadences - length, count).round().astype(int).tolist()
    return [(start, start + length) for start in starts]


def to_curves(
    flux: np.ndarray,
    star: np.ndarray,
    label: np.ndarray,
    *,
    row: np.ndarray,
    length: int = LENGTH,
    columns: dict[str, np.ndarray] | None = None,
) -> Reading:
    """Judge series (n, m) float32 and bring them to `length`; rejected ones are told by their `row` (n,).

    What is not finite counts as missing; `flux` is changed there, and may be returned without a copy.
    """
    if length < FEWEST_POINTS:
        raise UsageError(f"curves of {length} cadences are too short; at least {FEWEST_POINTS} are needed")
    columns = dict(columns or {})
    starts: list[np.ndarray] = []
    kept: list[np.ndarray] = []
    blocks: list[np.ndarray] = []
    rejected: list[tuple[int, str]] = []
    for start, stop in windows(flux.shape[1], length):
        block = flux[:, start:stop]
        facts = np.empty((len(flux), 3), np.int64)
        _survey(block, facts)
        good = _sound(facts)
        where = "" if flux.shape[1] <= length else f" in cadences {start} to {stop - 1}"
        rejected += [(int(row[k]), _fault(facts[k]) + where) for k in np.flatnonzero(~good)]
        kept.append(np.flatnonzero(good))
        starts.append(np.full(int(good.sum()), start, np.int32))
        blocks.append(_padded(block, good, length))
    order = np.concatenate(kept)
    joined = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    values = {name: column[order] for name, column in columns.items()}
    values["start"] = np.concatenate(starts)
    return Reading(Curves(joined, star[order], label[order].astype(np.int8), values), tuple(rejected))


def series_to_curves(series: Series, *, label: int, row: int, length: int = LENGTH) -> Reading:
    """The windows of one series as curves; its facts become columns."""
    return to_curves(
        series.flux[None, :].astype(np.float32),
        np.array([series.star]),
        np.array([label]),
        row=np.array([row]),
        length=length,
        columns={name: np.array([value]) for name, value in series.facts.items()},
    )


def join(readings: Sequence[Reading], rejected: Sequence[tuple[int, str]], *, length: int) -> Reading:
    """Several readings as one; a column that some lack is NaN there."""
    refused = sorted([*rejected, *(fault for reading in readings for fault in reading.rejected)])
    parts = [reading.curves for reading in readings if len(reading.curves)]
    if not parts:
        empty = np.empty((0, length), np.float32)
        return Reading(Curves(empty, np.empty(0, "<U1"), np.empty(0, np.int8)), tuple(refused))
    names = sorted({name for part in parts for name in part.columns})
    curves = Curves(
        np.concatenate([part.flux for part in parts]),
        np.concatenate([part.star for part in parts]),
        np.concatenate([part.label for part in parts]),
        {
            name: np.concatenate([part.columns.get(name, np.full(len(part), np.nan)) for part in parts])
            for name in names
        },
    )
    return Reading(curves, tuple(refused))


def even_series(time: np.ndarray, flux: np.ndarray, star: str, *, length: int = LENGTH) -> list[Series]:
    """Put measurements (m,) on an even grid of cadences; what was not measured is NaN. Nothing is stretched.

    Neighbours are a whole number of cadences apart; rounding from one to the next, not from the start,
    follows the drift of barycentric times. Of two in one cadence the first stays. A break longer than
    `length` cadences parts a series in two. A series whose times fit no cadence raises UnreadableError.
    """
    order = np.argsort(time, kind="stable")
    time, flux = time[order], flux[order]
    gaps = np.diff(time)
    cadence = float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 0.0
    if cadence <= 0:
        raise UnreadableError(
            f"star {star!r} has {len(time)} measurements at one time; a series needs several"
        )
    steps = gaps / cadence
    uneven = np.abs(steps - np.round(steps)) > _UNEVEN
    if uneven.mean() > _MOST_UNEVEN:
        raise UnreadableError(
            f"star {star!r} is not evenly sampled: {100 * uneven.mean():.0f}% of its steps are no whole "
            f"number of cadences ({cadence:g} d); bring it to an even cadence first, perdure never "
            "stretches time"
        )
    breaks = np.flatnonzero(steps > length) + 1
    return [
        _even(part, values, star, cadence)
        for part, values in zip(np.split(time, breaks), np.split(flux, breaks), strict=True)
    ]


def _even(time: np.ndarray, flux: np.ndarray, star: str, cadence: float) -> Series:
    steps = np.round(np.diff(time) / cadence).astype(np.int64)
    place = np.concatenate(([0], np.cumsum(steps)))
    first = np.concatenate(([True], steps > 0))
    grid = np.full(int(place[-1]) + 1, np.nan, np.float32)
    grid[place[first]] = flux[first]
    times = np.interp(np.arange(len(grid)), place[first], time[first])
    return Series(times, grid, star, {"cadence_d": cadence, "time_start": float(times[0])})


def _padded(block: np.ndarray, good: np.ndarray, length: int) -> np.ndarray:
    if good.all() and block.shape[1] == length:
        return block
    out = np.full((int(good.sum()), length), np.nan, np.float32)
    out[:, : block.shape[1]] = block[good]
    return out


def _sound(facts: np.ndarray) -> np.ndarray:
    span, points, varies = facts.T
    return (points >= FEWEST_POINTS) & (span - points <= MOST_MISSING * span) & (varies > 0)


def _fault(facts: np.ndarray) -> str:
    span, points, varies = facts.tolist()
    if points < FEWEST_POINTS:
        return f"it has {points} measured points, under the {FEWEST_POINTS} that are needed"
    if not varies:
        return "its flux never changes (zero variance)"
    missing = 100 * (1 - points / span)
    return f"{missing:.0f}% of its cadences are missing, over the {100 * MOST_MISSING:.0f}% that are allowed"


@njit(nogil=True, cache=True)
def _survey(flux: np.ndarray, facts: np.ndarray) -> None:
    """Per row: cadences from first to last measured, measured ones, 1 if two differ. Infinity becomes NaN."""
    for row in range(flux.shape[0]):
        first, last, points = -1, -1, 0
        low, high = np.float32(np.inf), np.float32(-np.inf)
        for k in range(flux.shape[1]):
            value = flux[row, k]
            if np.isfinite(value):
                points += 1
                last = k
                if first < 0:
                    first = k
                low = min(low, value)
                high = max(high, value)
            else:
                flux[row, k] = np.nan
        facts[row, 0] = last - first + 1 if points else 0
        facts[row, 1] = points
        facts[row, 2] = 1 if high > low else 0
