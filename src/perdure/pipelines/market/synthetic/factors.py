"""What all companies share: regimes, the market's and the sectors' returns, and the VIX."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numba import njit

# By regime: calm rise, chop, fall.
_DRIFT = np.array([0.0007, 0.0002, -0.0012])  # a day
_VOLATILITY = np.array([0.007, 0.011, 0.022])  # a day
_STAY = np.array([120.0, 60.0, 35.0])  # mean days in a regime
_NEXT = np.array([[0.0, 0.7, 0.3], [0.6, 0.0, 0.4], [0.3, 0.7, 0.0]])  # where a regime leads when it ends
_LEVERAGE = -0.6  # correlation of a day's return with the next change of log-volatility
_LONG_RUN = 0.012  # the market's volatility over all regimes, a day
_JUMPS = 1.5 / 252  # market jumps a day

SECTOR_BETA = {
    "XLK": 1.2, "XLF": 1.1, "XLV": 0.8, "XLY": 1.15, "XLC": 1.0, "XLI": 1.05,
    "XLP": 0.6, "XLE": 1.05, "XLB": 1.05, "XLRE": 0.9, "XLU": 0.5,
}  # fmt: skip

MARKET_STREAM, SECTOR_STREAM, COMPANY_STREAM, BAR_STREAM, DIRT_STREAM, NEWS_STREAM = range(6)


@dataclass(frozen=True, slots=True)
class Factors:
    """regime: (n,) int64 in 0..2. market, volatility: (n,) log return and its standard deviation, a day.

    vix, vix3m: (n,) in points.
    """

    regime: np.ndarray
    market: np.ndarray
    volatility: np.ndarray
    vix: np.ndarray
    vix3m: np.ndarray


@dataclass(frozen=True, slots=True)
class Sector:
    """own: (n,) log return of the sector beside the market. volatility: (n,) its standard deviation. beta: to the
    market."""

    own: np.ndarray
    volatility: np.ndarray
    beta: float


def stream(seed: int, kind: int, name: str) -> np.random.Generator:
    """Random numbers of one instrument: they depend on nothing but its name, so that a subset of the symbols is
    the same market with fewer of them."""
    return np.random.default_rng([seed, kind, *name.encode()])


@lru_cache(maxsize=4)
def factors(sessions: int, seed: int, null: bool) -> Factors:
    """The market's days. null: without drift, so that beta and regime tell nothing about the sign of a return."""
    rng = stream(seed, MARKET_STREAM, "")
    regime = _regimes(rng.random((2, sessions)))
    shock = student(rng, 6, sessions)
    innovation = np.sqrt(1 - _LEVERAGE**2) * rng.standard_normal(sessions)
    innovation[1:] += _LEVERAGE * shock[:-1]
    volatility = _VOLATILITY[regime] * wave(innovation, 0.97, 0.14)
    jump = (rng.random(sessions) < _JUMPS) * rng.normal(0.0 if null else -0.01, 0.025, sessions)
    market = (0.0 if null else _DRIFT[regime]) + volatility * shock + jump
    noise = np.exp(rng.normal(0, 0.03, sessions))
    expected = volatility * np.exp(_LEVERAGE * 0.14 * shock / 2)  # tomorrow's: a fall today frightens
    return Factors(
        regime, market, volatility, _implied(expected, 0.7) * noise, _implied(expected, 0.4) * np.sqrt(noise)
    )


@lru_cache(maxsize=16)
def sector(etf: str, sessions: int, seed: int) -> Sector:
    """The own returns of the sector of the fund `etf`."""
    rng = stream(seed, SECTOR_STREAM, etf)
    volatility = 0.006 * wave(rng.standard_normal(sessions), 0.97, 0.12)
    return Sector(volatility * student(rng, 6, sessions), volatility, SECTOR_BETA[etf])


def student(rng: np.random.Generator, freedom: int, count: int) -> np.ndarray:
    """(count,) Student's t, scaled to variance 1."""
    return rng.standard_t(freedom, count) * np.sqrt((freedom - 2) / freedom)


def wave(innovation: np.ndarray, persistence: float, size: float) -> np.ndarray:
    """(n,) a factor of volatility around 1: its logarithm follows an AR(1)."""
    level = _autoregression(innovation, persistence, size)
    return np.exp(level / 2 - size**2 / (1 - persistence**2) / 8)


def _implied(volatility: np.ndarray, share: float) -> np.ndarray:
    """Points of a volatility index that sees today's volatility for `share` of its horizon, then the long run; with
    15% as the price of risk."""
    return 115 * np.sqrt(252 * (share * volatility**2 + (1 - share) * _LONG_RUN**2))


@njit(cache=True)
def _autoregression(innovation: np.ndarray, persistence: float, size: float) -> np.ndarray:
    level = np.zeros(innovation.size)
    for t in range(1, innovation.size):
        level[t] = persistence * level[t - 1] + size * innovation[t]
    return level


@njit(cache=True)
def _regimes(uniform: np.ndarray) -> np.ndarray:
    """(n,) a Markov chain from (2, n) uniform numbers: whether a regime ends, and where it leads."""
    regime = np.zeros(uniform.shape[1], np.int64)
    for t in range(1, regime.size):
        regime[t] = regime[t - 1]
        if uniform[0, t] < 1 / _STAY[regime[t - 1]]:
            regime[t] = np.searchsorted(np.cumsum(_NEXT[regime[t - 1]]), uniform[1, t], side="right")
    return regime
