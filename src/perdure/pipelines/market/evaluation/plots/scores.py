"""How good the probabilities are, drawn from an assessment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from perdure.pipelines.canvas import BLUE, GREEN, GREY, ORANGE, figure, plain, png, tidy
from perdure.pipelines.market.evaluation import metrics
from perdure.pipelines.market.evaluation.assessment import META


def reliability(probability: np.ndarray, y: np.ndarray, *, bins: int = 15) -> bytes:
    """Share of rises against predicted probability, and where the predictions lie."""
    rows = metrics.calibration_table(y, probability, bins=bins)
    said, came = np.array([row["probability"] for row in rows]), np.array([row["share"] for row in rows])
    count = np.array([row["n"] for row in rows])
    fig = figure(5.4, 5.6)
    ax, below = fig.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    low, high = _span(np.r_[said, came])
    ax.plot([low, high], [low, high], color=GREY, linestyle=":", label="says what comes")
    ax.axhline(metrics.base_rate(y), color=ORANGE, linewidth=1, label=f"base rate {metrics.base_rate(y):.1%}")
    error = 1.96 * np.sqrt(came * (1 - came) / count)
    words = "95% if forecasts were independent"
    ax.errorbar(said, came, yerr=error, color=BLUE, marker="o", markersize=4, linewidth=1, label=words)
    ax.legend(fontsize=8, frameon=False, loc="upper left")
    title = f"Reliability: calibration error {metrics.calibration_error(y, probability, bins=bins):.4f}"
    tidy(ax, title=title, y="share of rises", ylim=_span(np.r_[said, came, came - error, came + error]))
    below.hist(probability, bins=60, color=BLUE)
    tidy(below, x="predicted probability of a rise", y="forecasts", xlim=(low, high))
    return png(fig)


def roc(models: Mapping[str, np.ndarray], y: np.ndarray) -> bytes:
    """True against false positives of each model; below, how far each is above the diagonal."""
    from sklearn.metrics import roc_curve

    fig = figure(9.4, 4.4)
    whole, lead = fig.subplots(1, 2)
    whole.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    grid = np.linspace(0, 1, 201)
    for name, probability in sorted(models.items(), key=lambda entry: entry[0] == META):
        false, true, _ = roc_curve(y, probability)
        style = _line(name)
        label = f"{plain(name)}: {metrics.auc(y, probability):.4f}"
        whole.plot(grid, np.interp(grid, false, true), label=label, **style)
        lead.plot(grid, np.interp(grid, false, true) - grid, **style)
    lead.axhline(0, color=GREY, linestyle=":", linewidth=1)
    whole.legend(fontsize=7, frameon=False, loc="lower right", title="area", title_fontsize=7)
    tidy(whole, title="ROC", x="false-positive rate", y="true-positive rate")
    tidy(lead, title="Above the diagonal", x="false-positive rate", y="true- less false-positive rate")
    return png(fig)


def blocks(models: Sequence[Mapping[str, Any]]) -> bytes:
    """AUC of each model in each forward block; `models` of an assessment."""
    fig = figure(8.5, 4)
    ax = fig.subplots()
    for row in sorted(models, key=lambda row: row["model"] == META):
        places = [entry["block"] for entry in row["auc_by_block"]]
        values = [np.nan if entry["auc"] is None else entry["auc"] for entry in row["auc_by_block"]]
        ax.plot(places, values, marker="o", markersize=4, label=plain(row["model"]), **_line(row["model"]))
    ax.axhline(0.5, color=GREY, linestyle=":", linewidth=1, label="chance")
    ax.set_xticks(places)
    tidy(ax, title="AUC by forward block, oldest first", x="forward block", y="AUC")
    fig.legend(*ax.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    return png(fig)


def regimes(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """AUC and net return a basket of each regime with 95% intervals; `by_regime` of an assessment."""
    fig = figure(9.4, 0.5 * len(rows) + 1.6)
    area, money = fig.subplots(1, 2, sharey=True)
    names = [f"{plain(row['regime'])}\n{row['dates']} days" for row in rows]
    _bars(area, [row["auc"] for row in rows], scale=1, start=0.5)
    _bars(money, [row["net_return"] for row in rows], scale=1e4, start=0)
    area.set_yticks(range(len(rows)), names)
    area.invert_yaxis()
    tidy(area, title="AUC by regime, 95% intervals", x="AUC")
    tidy(money, title="Net return of a long-short basket", x="basis points of capital a side, after costs")
    return png(fig)


def _bars(ax: Any, figures: Sequence[Mapping[str, float | None]], *, scale: float, start: float) -> None:
    ax.use_sticky_edges = False  # room beside bars that end left of the start
    for place, entry in enumerate(figures):
        if entry["value"] is None:
            ax.text(start, place, " too few names", va="center", fontsize=8, color=GREY)
            continue
        value = entry["value"] * scale
        colour = GREEN if value >= start else ORANGE
        ax.barh(place, value - start, left=start, height=0.6, color=colour, alpha=0.75)
        if entry["low"] is not None and entry["high"] is not None:
            ax.plot(
                [entry["low"] * scale, entry["high"] * scale], [place, place], color="black", linewidth=1.2
            )
    ax.axvline(start, color="black", linewidth=0.8)


def _line(name: str) -> dict[str, Any]:
    """The meta-learner in front; base models thin, each with a colour of its own from the cycle."""
    return {"color": "black", "linewidth": 2.2} if name == META else {"linewidth": 1, "alpha": 0.9}


def _span(x: np.ndarray) -> tuple[float, float]:
    low, high = (float(x.min()), float(x.max())) if len(x) else (0.0, 1.0)
    rim = max(0.05 * (high - low), 0.005)
    return low - rim, high + rim
