"""Single light curves: what was found and missed, where the network looked, what it says of one star."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from perdure.pipelines.canvas import BLUE, GREEN, GREY, ORANGE, RED, figure, png, tidy
from perdure.pipelines.exoplanet.curves import CADENCE_DAYS
from perdure.pipelines.exoplanet.evaluation.baselines import box_search

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PHASE_BINS = 80
_OUTCOMES = (  # title, label, called a planet, colour
    ("found", 1, True, GREEN),
    ("missed", 1, False, RED),
    ("false alarm", 0, True, ORANGE),
    ("rejected", 0, False, GREY),
)


def gallery(
    flux: np.ndarray,
    probability: np.ndarray,
    label: np.ndarray,
    columns: Mapping[str, np.ndarray],
    *,
    threshold: float = 0.5,
    each: int = 2,
) -> bytes:
    """For each outcome the `each` most confident curves, in time and folded.

    flux: (n, length) preprocessed. columns: `star` and `kind` go into the titles; `period_d` and `t0_d`
    give the fold where they are finite, the best box dip elsewhere.
    """
    chosen = _extremes(probability, label, threshold, each)
    fig = figure(11, 1.75 * max(1, len(chosen)) + 0.3)
    axes = fig.subplots(max(1, len(chosen)), 2, width_ratios=(2.2, 1), squeeze=False)
    for (row, title, colour), (whole, folded) in zip(chosen, axes, strict=False):
        names = [str(columns[name][row]) for name in ("star", "kind") if name in columns]
        heading = ", ".join([f"{title}: {probability[row]:.3f}", *names])
        _draw_curve(whole, flux[row], heading, colour)
        _draw_folded(folded, flux[row], *_ephemeris(flux[row], columns, row), colour)
    axes[-1, 0].set_xlabel("days", fontsize=9)
    axes[-1, 1].set_xlabel("phase", fontsize=9)
    return png(fig)


def saliency(flux: np.ndarray, drop: np.ndarray, *, title: str = "") -> bytes:
    """A preprocessed curve (length,) coloured by how much the probability falls when a part is hidden."""
    fig = figure(10, 4.2)
    ax, below = fig.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    days, seen = np.arange(flux.size) * CADENCE_DAYS, flux != 0
    most = max(float(np.abs(drop).max(initial=0)), 1e-6)
    dots = ax.scatter(
        days[seen], flux[seen], c=drop[seen], cmap="coolwarm", vmin=-most, vmax=most, s=5, linewidths=0
    )
    fig.colorbar(dots, ax=ax, label="fall of the probability").ax.tick_params(labelsize=8)
    tidy(ax, title=title or "Where the network looks", y="flux, in units of noise")
    below.fill_between(days, drop, color=BLUE, linewidth=0, step="mid")
    tidy(below, x="days", y="fall", xlim=(days[0], days[-1]))
    return png(fig)


def prediction(
    time: np.ndarray,
    flux: np.ndarray,
    detrended: np.ndarray,
    *,
    dip_times: Sequence[float],
    probability: float,
    star: str,
    threshold: float = 0.5,
    time_unit: str = "days",
) -> bytes:
    """One star: the curve as read, the detrended curve with its dips marked, and the probability.

    time, flux, detrended: (n,); NaN (flux) and 0 or NaN (detrended) where there is no measurement.
    """
    fig = figure(10, 5.6)
    raw, flat = fig.subplots(2, 1, sharex=True)
    called = probability >= threshold
    raw.plot(time, flux, ".", markersize=2, color=BLUE)
    verdict = "planet candidate" if called else "no planet found"
    tidy(raw, title=f"{star}: {verdict}, probability {probability:.3f}", y="flux as read")
    raw.title.set_color(GREEN if called else "black")
    raw.ticklabel_format(axis="y", useOffset=False)
    seen = np.isfinite(detrended) & (detrended != 0)
    flat.plot(time[seen], detrended[seen], ".", markersize=2, color=BLUE)
    tidy(flat, x=time_unit, y="detrended, in units of noise", xlim=(np.nanmin(time), np.nanmax(time)))
    low, high = (detrended[seen].min(), detrended[seen].max()) if seen.any() else (0.0, 1.0)
    flat.set_ylim(low - 0.15 * (high - low), high + 0.08 * (high - low))
    for number, dip in enumerate(dip_times):
        flat.axvline(dip, color=ORANGE, linewidth=5, alpha=0.25, label=None if number else "dips")
    if len(dip_times):
        flat.legend(fontsize=8, frameon=False, loc="lower right")
    return png(fig)


def _extremes(
    probability: np.ndarray, label: np.ndarray, threshold: float, each: int
) -> list[tuple[int, str, str]]:
    chosen = []
    for title, wanted, called, colour in _OUTCOMES:
        rows = np.flatnonzero((label == wanted) & ((probability >= threshold) == called))
        order = np.argsort(probability[rows], kind="stable")
        best = order[::-1][:each] if called else order[:each]
        chosen += [(int(row), title, colour) for row in rows[best]]
    return chosen


def _ephemeris(flux: np.ndarray, columns: Mapping[str, np.ndarray], row: int) -> tuple[float, float, str]:
    if "period_d" in columns and "t0_d" in columns and np.isfinite(columns["period_d"][row]):
        return float(columns["period_d"][row]), float(columns["t0_d"][row]), "known"
    fit = box_search(flux[None])
    return float(fit.period[0]), float(fit.t0[0]), "best box"


def _draw_curve(ax: Axes, flux: np.ndarray, title: str, colour: str) -> None:
    seen = flux != 0
    days = np.arange(flux.size) * CADENCE_DAYS
    ax.plot(days[seen], flux[seen], ".", markersize=1.5, color=colour)
    tidy(ax, title=title, xlim=(0, days[-1]))


def _draw_folded(ax: Axes, flux: np.ndarray, period: float, t0: float, source: str, colour: str) -> None:
    seen = flux != 0
    if not np.isfinite(period) or not seen.any():
        tidy(ax, title="no period")
        return
    phase = ((np.arange(flux.size)[seen] * CADENCE_DAYS - t0) / period + 0.5) % 1.0 - 0.5
    ax.plot(phase, flux[seen], ".", markersize=1, color="#c8c8c8")
    place = np.minimum(((phase + 0.5) * _PHASE_BINS).astype(np.int64), _PHASE_BINS - 1)
    count = np.bincount(place, minlength=_PHASE_BINS)
    filled = count > 0
    mean = np.bincount(place, flux[seen], _PHASE_BINS)[filled] / count[filled]
    ax.plot(((np.arange(_PHASE_BINS) + 0.5) / _PHASE_BINS - 0.5)[filled], mean, color=colour, linewidth=1.4)
    tidy(ax, title=f"{source} period {period:.2f} d", xlim=(-0.5, 0.5))
