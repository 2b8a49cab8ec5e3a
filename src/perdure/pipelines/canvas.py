"""Figures without any global state, so that plots may be drawn in any thread, and one look for all of them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GREY = "#2a6fbb", "#e07b1a", "#2e8b57", "#c0392b", "#7f8c8d"


def figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    fig = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def tidy(ax: Axes, *, title: str = "", x: str = "", y: str = "", **limits: Any) -> None:
    """Titles, labels and a light frame."""
    ax.set_title(title, fontsize=10, loc="left")
    ax.set_xlabel(x, fontsize=9)
    ax.set_ylabel(y, fontsize=9)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#e6e6e6", linewidth=0.6)
    ax.set_axisbelow(True)
    ax.set(**limits)


def png(fig: Figure) -> bytes:
    """The figure's bytes; no date and no version in them, so that equal figures give equal bytes."""
    stream = io.BytesIO()
    fig.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def plain(text: str) -> str:
    """`text` as it is: a dollar sign in a name is no formula, and a name of ten lines is no page."""
    return " ".join(text.split())[:80].replace("$", r"\$")
