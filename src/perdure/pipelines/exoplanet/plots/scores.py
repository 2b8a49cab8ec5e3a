"""What a test set says of a model, drawn."""

from __future__ import annotations

import numpy as np

from perdure.pipelines.canvas import BLUE, GREY, ORANGE, figure, png, tidy
from perdure.pipelines.exoplanet.evaluation import metrics, ranking
from perdure.pipelines.exoplanet.evaluation.ranking import Ranking


def roc(probability: np.ndarray, label: np.ndarray) -> bytes:
    """True against false positives over all thresholds; with a logarithmic view of the strict end."""
    counts = Ranking.of(probability, label).counts()
    true = np.r_[0.0, counts.true] / max(1.0, counts.positives)
    false = np.r_[0.0, counts.false] / max(1.0, counts.negatives)
    fig = figure(9, 4.2)
    whole, strict = fig.subplots(1, 2)
    whole.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    whole.plot(false, true, color=BLUE, drawstyle="steps-post")
    area = ranking.auc(counts)
    tidy(
        whole,
        title=f"ROC, area {area:.4f}",
        x="false-positive rate",
        y="recall",
        xlim=(-0.01, 1.01),
        ylim=(-0.02, 1.02),
    )
    lowest = 0.5 / max(1.0, counts.negatives)
    strict.plot(np.maximum(false, lowest), true, color=BLUE, drawstyle="steps-post")
    strict.axvline(0.01, color=ORANGE, linewidth=1)
    recall = ranking.recall_at_false_positive_rate(counts)
    strict.set_xscale("log")
    tidy(
        strict,
        title=f"Recall {recall:.3f} at 1% false positives",
        x="false-positive rate (logarithmic)",
        y="recall",
        xlim=(min(lowest, 0.005), 1.05),
        ylim=(-0.02, 1.02),
    )
    return png(fig)


def precision_recall(probability: np.ndarray, label: np.ndarray) -> bytes:
    """Precision against recall, with the share of planets as the line of a guess."""
    counts = Ranking.of(probability, label).counts()
    recall = counts.true / max(1.0, counts.positives)
    precision = counts.true / np.maximum(counts.true + counts.false, 1e-12)
    base = counts.positives / max(1.0, counts.positives + counts.negatives)
    fig = figure(5, 4.2)
    ax = fig.subplots()
    ax.axhline(base, color=GREY, linestyle=":", linewidth=1, label=f"by guessing ({base:.1%} are planets)")
    ax.plot(np.r_[0.0, recall], np.r_[precision[:1], precision], color=BLUE, drawstyle="steps-pre")
    ax.legend(fontsize=8, frameon=False, loc="lower left")
    tidy(
        ax,
        title=f"Precision and recall, average precision {ranking.average_precision(counts):.4f}",
        x="recall",
        y="precision",
        xlim=(-0.01, 1.01),
        ylim=(-0.02, 1.04),
    )
    return png(fig)


def confusion_matrix(probability: np.ndarray, label: np.ndarray, *, threshold: float = 0.5) -> bytes:
    """Counts, coloured by their share of the true class."""
    cells = metrics.confusion(probability, label, threshold=threshold)
    table = np.array(
        [
            [cells["true_negative"], cells["false_positive"]],
            [cells["false_negative"], cells["true_positive"]],
        ]
    )
    share = table / np.maximum(1, table.sum(axis=1, keepdims=True))
    fig = figure(4.4, 4)
    ax = fig.subplots()
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(table):
        dark = share[row, column] > 0.5
        text = f"{count:,}\n{share[row, column]:.1%}"
        ax.text(column, row, text, ha="center", va="center", fontsize=12, color="white" if dark else "black")
    tidy(ax, title=f"Threshold {threshold:g}", x="called", y="in truth")
    ax.grid(visible=False)
    ax.set_xticks([0, 1], ["none", "planet"])
    ax.set_yticks([0, 1], ["none", "planet"], rotation=90, va="center")
    return png(fig)


def reliability(probability: np.ndarray, label: np.ndarray, *, bins: int = 15) -> bytes:
    """Share of planets against predicted probability, and how many predictions each bin holds."""
    count, mean, share = ranking.calibration_bins(probability, label, bins=bins)
    error = ranking.calibration_error(probability, label)
    filled = count > 0
    fig = figure(5, 5)
    ax, below = fig.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    spread = np.sqrt(np.maximum(share * (1 - share), 0)[filled] / count[filled])
    ax.errorbar(mean[filled], share[filled], yerr=spread, color=BLUE, marker="o", markersize=4, linewidth=1)
    tidy(
        ax,
        title=f"Reliability, expected calibration error {error:.4f}",
        y="share of planets",
        ylim=(-0.03, 1.03),
    )
    below.bar((np.arange(bins) + 0.5) / bins, count, width=0.9 / bins, color=BLUE)
    below.set_yscale("symlog", linthresh=1)
    tidy(below, x="predicted probability", y="curves", xlim=(-0.01, 1.01))
    return png(fig)
