"""What the long-short portfolio earned over time."""

from __future__ import annotations

import numpy as np

from perdure.pipelines.canvas import BLUE, GREY, ORANGE, RED, figure, png, tidy
from perdure.pipelines.market.evaluation import portfolio
from perdure.pipelines.market.evaluation.portfolio import Book


def equity(held: Book, *, trials: int = 1) -> bytes:
    """Cumulative return before and after costs, and the fall from the height so far, in percent of capital."""
    figures = portfolio.summary(held, trials=trials)
    gross, net = 100 * np.cumsum(held.gross), 100 * np.cumsum(held.net)
    fall = net - np.maximum.accumulate(np.r_[0.0, net])[1:]
    fig = figure(9, 5)
    ax, below = fig.subplots(2, 1, height_ratios=(3, 1), sharex=True)
    ax.plot(held.day, gross, color=ORANGE, linewidth=1, label="before costs")
    ax.plot(held.day, net, color=BLUE, label="after costs")
    ax.axhline(0, color=GREY, linestyle=":", linewidth=1)
    ax.legend(fontsize=8, frameon=False, loc="upper left")
    title = f"Long-short fifths: {figures['net_per_year']:+.1%} a year net, Sharpe {figures['sharpe']:.2f}"
    tidy(ax, title=title, y="sum of returns, % of capital")
    below.fill_between(held.day, fall, color=RED, alpha=0.6, linewidth=0)
    tidy(below, title=f"Largest drawdown {figures['max_drawdown']:.1%}", x="decision day", y="drawdown, %")
    return png(fig)
