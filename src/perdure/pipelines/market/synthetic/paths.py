"""One company's days: what happened, its log returns with the planted signal, and the best possible forecast.

The signal: the return of each day holds kappa x idiosyncratic volatility x a mixture of reversal, momentum, the last
earnings surprise and the last insider trade, all of them known at the close before. Calm rising markets reward
momentum, the others reversal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from perdure.pipelines.market.synthetic.factors import (
    COMPANY_STREAM,
    Factors,
    Sector,
    stream,
    student,
    wave,
)

QUARTER = 63  # sessions between two releases of earnings
HORIZON = 10  # sessions ahead that the oracle looks

_FILINGS, _TRADES, _BOUGHT = 4 / 252, 6 / 252, 0.3  # 8-K a day, insider trades a day, the share of purchases
_RELEASE_JUMP, _FILING_JUMP = 0.035, 0.012  # standard deviation of the return on such a day
_TOLD = 0.6  # share of a release's jump that its surprise explains

# By regime: how much reversal and momentum count. Then the surprise and the insiders, and the divisor of the sum.
_REVERSAL, _MOMENTUM = np.array([0.3, 0.9, 1.0]), np.array([0.9, 0.1, -0.3])
_SURPRISE, _INSIDER, _USUAL = 0.6, 0.4, 0.65
_FADE_REVERSAL, _FADE_MOMENTUM, _FADE_EVENT = 0.8, 0.985, 0.965  # kept a day


@dataclass(frozen=True, slots=True)
class Path:
    """Columns are (n,), a session each.

    log_return: close to close, dividends included. volatility: its standard deviation. release, filing: whether
    earnings, or another 8-K, came out before the session. surprise: standard normal at a release, else 0. trade: +1
    an insider's purchase became public before the session, -1 a sale, else 0. oracle: the expected sum of the
    signal over the next HORIZON sessions over the standard deviation of the return beside the sector's fund.
    """

    log_return: np.ndarray
    volatility: np.ndarray
    release: np.ndarray
    filing: np.ndarray
    surprise: np.ndarray
    trade: np.ndarray
    oracle: np.ndarray


def walk(symbol: str, etf: str, market: Factors, own: Sector, *, seed: int, kappa: float) -> Path:
    """The path of `symbol` in a market that is the same for all symbols."""
    rng = stream(seed, COMPANY_STREAM, symbol)
    count = len(market.market)
    beta = float(np.clip(own.beta + rng.normal(0, 0.15), 0.2, 2))
    base = rng.uniform(0.009, 0.02) * {"XLU": 0.6, "XLK": 1.2}.get(etf, 1.0)
    volatility = base * wave(rng.standard_normal(count), 0.95, 0.18)
    release = np.arange(count) % QUARTER == rng.integers(5, 60)
    surprise = np.where(release, rng.standard_normal(count), 0.0)
    filing = (rng.random(count) < _FILINGS) & ~release
    trade = (rng.random(count) < _TRADES) * np.where(rng.random(count) < _BOUGHT, 1.0, -1.0)
    told = _TOLD * surprise + np.sqrt(1 - _TOLD**2) * rng.standard_normal(count)
    jump = _RELEASE_JUMP * release * told + _FILING_JUMP * filing * rng.standard_normal(count)
    alone, ahead = _signal(
        kappa, volatility, volatility * student(rng, 5, count) + jump, market.regime, surprise, release, trade
    )
    spread = HORIZON * (
        volatility**2 + _FILINGS * _FILING_JUMP**2 + ((beta - own.beta) * market.volatility) ** 2
    )
    spread += _RELEASE_JUMP**2 * _releases_ahead(release)
    total = np.sqrt((beta * market.volatility) ** 2 + own.volatility**2 + volatility**2)
    return Path(
        beta * market.market + own.own + alone,
        total,
        release,
        filing,
        surprise,
        trade,
        ahead / np.sqrt(spread),
    )


def _releases_ahead(release: np.ndarray) -> np.ndarray:
    """(n,) how many releases the next HORIZON sessions hold: their dates are announced."""
    known = np.cumsum(np.concatenate([release, np.zeros(HORIZON, bool)]))
    return known[HORIZON:] - known[:-HORIZON]


@njit(cache=True)
def _signal(
    kappa: float,
    volatility: np.ndarray,
    shock: np.ndarray,
    regime: np.ndarray,
    surprise: np.ndarray,
    release: np.ndarray,
    trade: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the company's own return, and its expected part over the HORIZON sessions after each."""
    count = shock.size
    alone, ahead = np.zeros(count), np.zeros(count)
    reversal, momentum, news, insider = 0.0, 0.0, 0.0, 0.0
    over_reversal = (1 - _FADE_REVERSAL**HORIZON) / (1 - _FADE_REVERSAL)
    over_momentum = (1 - _FADE_MOMENTUM**HORIZON) / (1 - _FADE_MOMENTUM)
    over_event = (1 - _FADE_EVENT**HORIZON) / (1 - _FADE_EVENT)
    for t in range(count):
        before = max(t - 1, 0)
        mixture = -_REVERSAL[regime[before]] * reversal + _MOMENTUM[regime[before]] * momentum
        mixture += _SURPRISE * news + _INSIDER * insider
        alone[t] = kappa * volatility[before] * mixture / _USUAL + shock[t]
        # The shock alone: a momentum that fed on itself would run away, the further the stronger the signal.
        step = min(max(shock[t] / volatility[t], -4.0), 4.0)
        reversal = _FADE_REVERSAL * reversal + np.sqrt(1 - _FADE_REVERSAL**2) * step
        momentum = _FADE_MOMENTUM * momentum + np.sqrt(1 - _FADE_MOMENTUM**2) * step
        news = 1.5 * surprise[t] if release[t] else _FADE_EVENT * news
        insider = 1.5 * trade[t] if trade[t] != 0 else _FADE_EVENT * insider
        mixture = -_REVERSAL[regime[t]] * reversal * over_reversal
        mixture += _MOMENTUM[regime[t]] * momentum * over_momentum
        mixture += (_SURPRISE * news + _INSIDER * insider) * over_event
        ahead[t] = kappa * volatility[t] * mixture / _USUAL
    return alone, ahead
