"""What the models look at: contributions to the log-odds, over all forecasts and in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perdure.pipelines.canvas import BLUE, GREEN, GREY, RED, figure, plain, png, tidy

_DOTS = 1500  # of a feature in the swarm; more are only darker


def importance(features: Sequence[Mapping[str, Any]], *, top: int = 20) -> bytes:
    """Shares of the mean |contribution|, largest on top; `features` of an explanation's summary."""
    rows = features[:top]
    fig = figure(8, 0.27 * len(rows) + 1.1)
    ax = fig.subplots()
    ax.barh(range(len(rows)), [100 * row["share"] for row in rows], color=BLUE, height=0.7)
    ax.margins(y=0.01)
    ax.set_yticks(range(len(rows)), [f"{plain(row['feature'])}  ({plain(row['group'])})" for row in rows])
    ax.invert_yaxis()
    tidy(ax, title=f"The {len(rows)} most used features", x="% of mean |contribution|, mean over models")
    return png(fig)


def swarm(
    contributions: np.ndarray, values: np.ndarray, names: Sequence[str], *, title: str = "", top: int = 20
) -> bytes:
    """Each forecast a dot: contribution across, feature's value as colour; contributions, values: (n, k)."""
    chosen = np.argsort(-np.abs(contributions).mean(axis=0), kind="stable")[:top]
    rows = np.unique(np.linspace(0, max(len(values) - 1, 0), min(_DOTS, len(values))).astype(int))
    fig = figure(8.5, 0.33 * len(chosen) + 1.2)
    ax = fig.subplots()
    dots = None
    for place, k in enumerate(chosen):
        spread, colour = _heights(contributions[rows, k]), _ranks(values[rows, k])
        dots = ax.scatter(
            contributions[rows, k], place + spread, c=colour, cmap="coolwarm", vmin=0, vmax=1, s=4, linewidths=0,
            plotnonfinite=True,
        )  # fmt: skip
    ax.axvline(0, color="black", linewidth=0.8)
    ax.margins(y=0.02)
    ax.set_yticks(range(len(chosen)), [plain(names[k]) for k in chosen])
    ax.invert_yaxis()
    if dots is not None:
        bar = fig.colorbar(dots, ax=ax, ticks=[0, 1], aspect=40)
        bar.ax.set_yticklabels(["low", "high"], fontsize=8)
        bar.set_label("feature's value, by rank", fontsize=8)
    tidy(ax, title=plain(title) or "What moves the forecasts", x="contribution to the log-odds of a rise")
    return png(fig)


def waterfall(
    contributions: np.ndarray, values: np.ndarray, names: Sequence[str], *, title: str, top: int = 10
) -> bytes:
    """One forecast, from the base value to the score; contributions: (k + 1,), values: (k,)."""
    parts, base = contributions[:-1], float(contributions[-1])
    order = np.argsort(-np.abs(parts), kind="stable")
    chosen, rest = order[:top], order[top:]
    labels = [f"{plain(names[k])} = {values[k]:.3g}" for k in chosen]
    steps = [float(parts[k]) for k in chosen]
    if len(rest):
        labels.append(f"other {len(rest)} features")
        steps.append(float(parts[rest].sum()))
    ends = base + np.cumsum(steps)
    fig = figure(8, 0.36 * len(steps) + 1.6)
    ax = fig.subplots()
    for place, (step, end) in enumerate(zip(steps, ends, strict=True)):
        ax.barh(place, step, left=end - step, color=GREEN if step >= 0 else RED, height=0.65)
        ax.annotate(
            f"{step:+.4f}", (max(end, end - step), place), (4, 0), textcoords="offset points", fontsize=8, va="center"
        )  # fmt: skip
    ax.axvline(base, color=GREY, linestyle=":", label=f"base value {base:+.4f}")
    score = float(ends[-1]) if len(ends) else base
    ax.axvline(score, color="black", label=f"score {score:+.4f}: {1 / (1 + np.exp(-score)):.1%}")
    ax.set_yticks(range(len(steps)), labels)
    ax.invert_yaxis()
    ax.use_sticky_edges = False  # a bar may not end at the frame: it would seem to go on
    ax.margins(x=0.14, y=0.02)
    tidy(ax, title=plain(title), x="log-odds of a rise")
    fig.legend(
        *ax.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=8, frameon=False
    )
    return png(fig)


def _heights(x: np.ndarray) -> np.ndarray:
    """Dots of about the same place are spread up and down, alternately, -0.4..0.4."""
    if not len(x):
        return x
    place = np.digitize(x, np.linspace(x.min(), x.max(), 60))
    count = np.bincount(place)
    order = np.argsort(place, kind="stable")
    within = np.empty(len(x), np.int64)
    within[order] = np.arange(len(x)) - np.repeat(np.cumsum(count) - count, count)
    side = np.where(within % 2, 1, -1) * ((within + 1) // 2)
    return 0.8 * side / max(1, int(count.max()))


def _ranks(x: np.ndarray) -> np.ndarray:
    """Ranks in 0..1; NaN stays."""
    ranks = np.full(len(x), np.nan)
    known = np.isfinite(x)
    levels, place = np.unique(x[known], return_inverse=True)
    ranks[known] = place / max(1, len(levels) - 1)
    return ranks
