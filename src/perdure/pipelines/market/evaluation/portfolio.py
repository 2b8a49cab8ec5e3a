"""What the forecasts would have earned: long the best fifth of a day's names, short the worst, net of costs.

A basket is formed each decision day and its trades last up to `horizon` sessions, so several baskets are open at once.
Each gets 1/K of the capital, K = ceil(horizon / stride) (Jegadeesh & Titman 1993), long and short 100% of capital each
when all are open. A basket's whole return is booked on its decision day; the overlap makes neighbouring entries agree,
which `long_run_variance` answers for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.evaluation.forecasts import Forecasts

SESSIONS_A_YEAR = 252
FEWEST_NAMES = 10  # of a day; two names a side at least
_QUANTILE = 5
_EULER = 0.5772156649015329


@dataclass(frozen=True, slots=True)
class Book:
    """The long-short portfolio, one entry a decision day, in shares of capital.

    day: (d,) datetime64[D]. gross: (d,) return before costs. cost: (d,) of buying and selling every trade.
    netted_cost: (d,) if a name that one basket sells while another buys it were kept. turnover: (d,) traded after such
    netting, 1 = the whole capital once. overlap: baskets open at once. per_year: entries a year.
    """

    day: np.ndarray
    gross: np.ndarray
    cost: np.ndarray
    netted_cost: np.ndarray
    turnover: np.ndarray
    overlap: int
    per_year: float

    @property
    def net(self) -> np.ndarray:
        """(d,) return after the cost of every trade."""
        return self.gross - self.cost


def book(forecasts: Forecasts, *, cost_bp: float = 5.0, horizon: int = 10, stride: int = 3) -> Book:
    """The portfolio of these forecasts. cost_bp: basis points of what is traded, each way.

    A barrier may end a trade early and a forecast does not say when, so `cost` takes every trade in and out.
    Days with fewer than FEWEST_NAMES names are left out. Raises UsageError for two forecasts of one day and symbol.
    """
    overlap = math.ceil(horizon / stride)
    days, weights, returns = _table(forecasts)
    gross = np.sum(weights * returns, axis=1) / overlap
    cost = 2 * cost_bp * 1e-4 * np.abs(weights).sum(axis=1) / overlap
    turnover = _turnover(weights, overlap)
    return Book(days, gross, cost, cost_bp * 1e-4 * turnover, turnover, overlap, SESSIONS_A_YEAR / stride)


def summary(held: Book, *, trials: int) -> dict[str, float]:
    """Figures of a portfolio; NaN where undefined. trials: how many were tried, this one among them."""
    net, overlap = held.net, held.overlap
    ratio, independent = sharpe(net, overlap=overlap), independent_entries(net, overlap=overlap)
    return {
        "days": float(len(net)),
        "gross_per_year": _mean(held.gross) * held.per_year,
        "cost_per_year": _mean(held.cost) * held.per_year,
        "net_per_year": _mean(net) * held.per_year,
        "netted_net_per_year": _mean(held.gross - held.netted_cost) * held.per_year,
        "net_per_basket_bp": _mean(net) * overlap * 1e4,
        "turnover_per_year": _mean(held.turnover) * held.per_year,
        "sharpe": ratio * math.sqrt(held.per_year),
        "max_drawdown": max_drawdown(net),
        "probabilistic_sharpe": probabilistic_sharpe(net, independent),
        "deflated_sharpe": deflated_sharpe(net, independent, trials=trials),
        "trials": float(trials),
    }


def long_run_variance(x: np.ndarray, *, overlap: int) -> float:
    """Variance of x (n,) with the covariances of entries that share sessions (Hansen & Hodrick 1980).

    Never below the plain variance: chance may make near entries disagree, and that must not flatter.
    """
    if len(x) < 2:
        return math.nan
    centred = x - x.mean()
    lags = range(1, min(overlap, len(x)))
    near = sum(float(np.sum(centred[k:] * centred[:-k])) for k in lags) / (len(x) - 1)
    return float(np.var(x, ddof=1)) + max(0.0, 2 * near)


def sharpe(x: np.ndarray, *, overlap: int) -> float:
    """Mean over the root of the long-run variance, an entry; times sqrt(entries a year) it is annual (Lo 2002)."""
    variance = long_run_variance(x, overlap=overlap)
    return float(x.mean() / math.sqrt(variance)) if variance > 1e-24 else math.nan


def independent_entries(x: np.ndarray, *, overlap: int) -> float:
    """How many independent entries would tell the mean of x as well."""
    variance = long_run_variance(x, overlap=overlap)
    return float(len(x) * np.var(x, ddof=1) / variance) if variance > 1e-24 else math.nan


def probabilistic_sharpe(x: np.ndarray, independent: float, *, benchmark: float = 0.0) -> float:
    """Chance that the true Sharpe ratio an entry is above `benchmark`, given skewness and kurtosis.

    Bailey & Lopez de Prado 2012, "The Sharpe ratio efficient frontier"; `independent` stands for the sample's size.
    """
    from scipy.stats import kurtosis, norm, skew

    if not independent > 1:
        return math.nan
    ratio = float(x.mean() / x.std(ddof=1))
    spread = 1 - float(skew(x)) * ratio + (float(kurtosis(x, fisher=False)) - 1) / 4 * ratio**2
    return float(norm.cdf((ratio - benchmark) * math.sqrt(independent - 1) / math.sqrt(max(spread, 1e-12))))


def deflated_sharpe(
    x: np.ndarray, independent: float, *, trials: int, variance: float | None = None
) -> float:
    """`probabilistic_sharpe` against the best Sharpe ratio that `trials` worthless tries would have shown.

    Bailey & Lopez de Prado 2014, "The deflated Sharpe ratio", eq. 1. variance: of the tries' Sharpe ratios an entry;
    that of a worthless try's estimate, 1 / (independent - 1), where it is not given.
    """
    if not independent > 1:
        return math.nan
    return probabilistic_sharpe(
        x,
        independent,
        benchmark=best_by_chance(trials, 1 / (independent - 1) if variance is None else variance),
    )


def best_by_chance(trials: int, variance: float) -> float:
    """Expected greatest of `trials` Sharpe ratios whose true value is 0; one try has no choice, and 0."""
    from scipy.stats import norm

    if trials < 2:
        return 0.0
    first, second = norm.ppf(1 - 1 / trials), norm.ppf(1 - 1 / (trials * math.e))
    return math.sqrt(variance) * float((1 - _EULER) * first + _EULER * second)


def max_drawdown(x: np.ndarray) -> float:
    """Greatest fall of the running sum of x from its height so far, as a positive share of capital."""
    if not len(x):
        return math.nan
    level = np.r_[0.0, np.cumsum(x)]
    return float(np.max(np.maximum.accumulate(level) - level))


def _table(forecasts: Forecasts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(d,) days, (d, s) weights with 1 long and 1 short a day, (d, s) returns, 0 where there is no trade."""
    days, row = np.unique(forecasts.day, return_inverse=True)
    symbols, column = np.unique(forecasts.symbol, return_inverse=True)
    score = np.full((len(days), len(symbols)), math.nan)
    returns = np.zeros_like(score)
    score[row, column], returns[row, column] = forecasts.probability, forecasts.ret
    if np.isfinite(score).sum() != len(forecasts):
        raise UsageError(
            f"{len(forecasts):,} forecasts are of {np.isfinite(score).sum():,} days and symbols; give one of each"
        )
    enough = np.isfinite(score).sum(axis=1) >= FEWEST_NAMES
    score, returns = score[enough], returns[enough]
    weights = np.array([_side(day) - _side(-day) for day in score]).reshape(score.shape)
    return days[enough], weights, returns


def _side(score: np.ndarray) -> np.ndarray:
    """(s,) weights of the best fifth, 1 in all; names tied at the edge share its places, whatever their order."""
    present = np.isfinite(score)
    places = max(1, int(present.sum()) // _QUANTILE)
    edge = np.sort(score[present])[-places]
    above, tied = present & (score > edge), present & (score == edge)
    return (above + tied * (places - above.sum()) / tied.sum()) / places


def _turnover(weights: np.ndarray, overlap: int) -> np.ndarray:
    """(d,) traded at each entry by the sum of the open baskets, the last sale in the last one."""
    padded = np.vstack([np.zeros((overlap, weights.shape[1])), weights])
    opened, closed = padded[overlap:], padded[: len(weights)]
    traded = np.abs(opened - closed).sum(axis=1) / overlap
    if len(traded):
        traded[-1] += np.abs(padded[-overlap:].sum(axis=0)).sum() / overlap
    return traded


def _mean(x: np.ndarray) -> float:
    return float(x.mean()) if len(x) else math.nan
