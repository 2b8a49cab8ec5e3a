"""Made-up forecasts with a known signal, for the tests of the evaluation."""

from __future__ import annotations

import numpy as np

from perdure.pipelines.market.evaluation.forecasts import Forecasts

SECTORS = ("Energy", "Technology", "Utilities")


def made(
    *,
    days: int = 120,
    symbols: int = 24,
    signal: float = 0.0,
    seed: int = 0,
    blocks: int = 6,
    overlap: int = 4,
) -> Forecasts:
    """Labels of near days overlap and a day's names move together; `signal` is the score's correlation with y's cause.

    Returns are in units of 3%; the oracle is the score without the noise of the meta-learner.
    """
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((days, symbols))
    noise = rng.standard_normal((days + overlap, symbols))
    rest = sum(noise[k : k + days] for k in range(overlap)) / np.sqrt(overlap)
    own = signal * true + np.sqrt(1 - signal**2) * rest
    market = rng.standard_normal((days, 1))
    guess = 0.9 * true + 0.4 * rng.standard_normal((days, symbols))
    grid = np.datetime64("2018-01-01") + 4 * np.arange(days)

    def flat(values: np.ndarray) -> np.ndarray:
        return np.broadcast_to(values, (days, symbols)).ravel()

    number = np.arange(symbols)
    return Forecasts(
        day=flat(grid[:, None]),
        symbol=flat(np.array([f"S{k:02d}" for k in number])),
        sector=flat(np.array(SECTORS)[number % 3]),
        regime=flat(((np.arange(days) // 20) % 6)[:, None]).astype(np.int8),
        block=flat((np.arange(days) * blocks // days)[:, None]),
        y=(own > 0).ravel().astype(np.int8),
        ret=0.03 * (own + 0.3 * market).ravel(),
        excess=0.03 * own.ravel(),
        weight=np.ones(days * symbols),
        probability=1 / (1 + np.exp(-0.2 * guess.ravel())),
        oracle=true.ravel().copy(),
        base={
            f"model {k}": 1
            / (1 + np.exp(-0.2 * (guess + 0.5 * k * rng.standard_normal(guess.shape)).ravel()))
            for k in (1, 2)
        },
    )
