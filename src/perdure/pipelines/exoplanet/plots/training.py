"""The course of the training, and the map of what the trained network would find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from perdure.pipelines.canvas import BLUE, GREY, ORANGE, figure, png, tidy
from perdure.pipelines.exoplanet.evaluation.recovery import RecoveryMap


def training_curves(
    history: Mapping[str, Sequence[float]], *, interruptions: Sequence[float] = (), best: float | None = None
) -> bytes:
    """One panel per quantity over all epochs, a training line and a validation line in each.

    history: `epoch` and, alike long, any quantities; `val_x` is drawn over `x`. interruptions: epochs at
    which an attempt ended. best: the epoch whose weights were kept.
    """
    epochs = np.asarray(history["epoch"], dtype=np.float64)
    names = [name for name in history if name != "epoch"]
    panels = list(dict.fromkeys(name.removeprefix("val_") for name in names))
    fig = figure(8.5, 2.3 * max(1, len(panels)) + 0.4)
    axes = np.atleast_1d(fig.subplots(max(1, len(panels)), 1, sharex=True))
    for ax, panel in zip(axes, panels, strict=False):
        for name, colour, words in ((panel, BLUE, "training"), (f"val_{panel}", ORANGE, "validation")):
            if name in history:
                values = np.asarray(history[name], dtype=np.float64)
                marker = "o" if len(epochs) < 40 else None
                ax.plot(epochs, values, color=colour, label=words, marker=marker, markersize=3)
        for number, epoch in enumerate(interruptions):
            once = None if number else "interrupted and resumed"
            ax.axvline(epoch, color=GREY, linestyle="--", linewidth=0.9, label=once)
        if best is not None:
            ax.axvline(best, color="black", linewidth=0.9, label="best")
        tidy(ax, title=panel.replace("_", " "))
    axes[-1].set_xlabel("epoch", fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        fig.legend(handles, labels, loc="outside upper right", ncols=len(labels), fontsize=8, frameon=False)
    return png(fig)


def recovery_map(found: RecoveryMap) -> bytes:
    """Share of injected planets that were found, by period and strength."""
    fig = figure(6.4, 4.4)
    ax = fig.subplots()
    rate = found.rate
    image = ax.imshow(rate, cmap="viridis", vmin=0, vmax=1, origin="lower", aspect="auto")
    for (row, column), share in np.ndenumerate(rate):
        if np.isfinite(share):
            text = f"{share:.0%}\n{found.found[row, column]}/{found.count[row, column]}"
            ax.text(
                column,
                row,
                text,
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share < 0.6 else "black",
            )
    tidy(ax, title="Injected planets that were found", x="period, days", y="multiple-event statistic")
    ax.grid(visible=False)
    ax.set_xticks(range(rate.shape[1]), _ranges(found.periods))
    ax.set_yticks(range(rate.shape[0]), _ranges(found.strengths))
    fig.colorbar(image, ax=ax, format=lambda share, _: f"{share:.0%}").ax.tick_params(labelsize=8)
    return png(fig)


def _ranges(edges: Sequence[float]) -> list[str]:
    return [f"{low:.3g}\N{EN DASH}{high:.3g}" for low, high in pairwise(edges)]
