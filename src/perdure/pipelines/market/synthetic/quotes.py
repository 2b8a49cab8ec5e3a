"""Bars around a path of returns: what a session looks like when its close is known."""

from __future__ import annotations

import numpy as np

from perdure.pipelines.market.data.bars import Bars

_OVERNIGHT, _OVERNIGHT_RELEASE = 0.3, 0.85  # share of a day's return that the open has


def quotes(
    rng: np.random.Generator, day: np.ndarray, log_return: np.ndarray, volatility: np.ndarray, release: np.ndarray,
    *, start: float, shares: float,
) -> Bars:  # fmt: skip
    """Bars whose closes follow `log_return` from `start`.

    day, log_return, volatility, release: (n,). shares: the volume of an ordinary session.
    """
    count = len(day)
    close = start * np.exp(np.cumsum(log_return))
    share = np.where(release, _OVERNIGHT_RELEASE, _OVERNIGHT)
    night = share * log_return + 0.27 * volatility * rng.standard_normal(count)
    opened = close * np.exp(night - log_return)
    above, below = 0.45 * volatility * np.abs(rng.standard_normal((2, count)))
    busy = 0.3 * rng.standard_normal(count) + 0.35 * np.abs(log_return) / volatility + 0.9 * release
    return Bars(
        day, opened, np.maximum(opened, close) * np.exp(above), np.minimum(opened, close) * np.exp(-below), close,
        np.round(shares * np.exp(busy)),
    )  # fmt: skip
