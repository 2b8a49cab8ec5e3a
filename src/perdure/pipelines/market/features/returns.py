"""Features of the price itself: returns, volatility, place in its range, statistics, and the market around it.

All arrays are (n,) float64. Logs are natural; "r" is the daily log return of the close, unknown on the first bar.
A price that stands still has a volatility of 0; the ratio of two such is 1, and the close stands in the middle of a
range or a band of no width.
"""

from __future__ import annotations

import numpy as np
import talib

from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.features import kernels
from perdure.pipelines.market.features.kernels import lagged, ratio

_SPANS = (20, 60, 252)
_YEAR = 252  # sessions
_LEAST_VARIANCE = 1e-9  # keeps the log of a ratio of variances finite; (0.3 basis points)^2


def log_return(price: np.ndarray, bars: int = 1) -> np.ndarray:
    """ln(price[t] / price[t - bars])."""
    level = np.log(price)
    return level - lagged(level, bars)


def price_return(bars: Bars) -> dict[str, np.ndarray]:
    """How far the price went: over spans, overnight, within sessions, up and down."""
    close, level = bars.close, np.log(bars.close)
    r = log_return(close)
    found = {f"ret_{k}": log_return(close, k) for k in (1, 2, 3, 5, 10, 21, 42, 63, 126, 252)}
    found["mom_12_1"] = lagged(level, 21) - lagged(level, 252)
    found["mom_6_1"] = lagged(level, 21) - lagged(level, 126)
    found["gap_1"] = np.log(bars.open / lagged(close, 1))
    found["intraday_1"] = np.log(close / bars.open)
    found["gap_sum_5"] = kernels.total(found["gap_1"], 5)
    found["gap_sum_21"] = kernels.total(found["gap_1"], 21)
    found["intraday_sum_21"] = kernels.total(found["intraday_1"], 21)
    rose = np.where(np.isnan(r), np.nan, r > 0)
    for k in (10, 21, 63):
        found[f"up_frac_{k}"] = kernels.mean(rose, k)
    found["run_len"] = np.clip(kernels.streak(r), -10, 10)
    found["max_ret_21"] = talib.MAX(r, timeperiod=21)
    found["min_ret_21"] = talib.MIN(r, timeperiod=21)
    found["ret_accel_21"] = found["ret_21"] - lagged(found["ret_21"], 21)
    return found


def price_position(bars: Bars) -> dict[str, np.ndarray]:
    """Where the close stands in the range of the last weeks, months and year."""
    close, index = bars.close, np.arange(len(bars), dtype=np.float64)
    found: dict[str, np.ndarray] = {}
    for k in _SPANS:
        highest, lowest = talib.MAX(bars.high, timeperiod=k), talib.MIN(bars.low, timeperiod=k)
        found[f"dist_high_{k}"] = np.log(close / highest)
        found[f"dist_low_{k}"] = np.log(close / lowest)
        found[f"rsv_{k}"] = ratio(close - lowest, highest - lowest, 0.5)
        found[f"rank_{k}"] = talib.PERCENTRANK(close, timeperiod=k)
    for k in (20, 60):
        known = index >= k - 1  # TA-Lib gives whole numbers here, which have no NaN
        found[f"imax_{k}"] = np.where(known, (index - talib.MAXINDEX(bars.high, timeperiod=k)) / k, np.nan)
        found[f"imin_{k}"] = np.where(known, (index - talib.MININDEX(bars.low, timeperiod=k)) / k, np.nan)
    for k in (63, 252):
        found[f"maxdd_{k}"] = kernels.drawdown(np.log(close), k)
    return found


def daily_volatility(close: np.ndarray, decay: float = 0.94) -> np.ndarray:
    """sqrt of the exponentially weighted mean of squared daily log returns (RiskMetrics 1996), NaN on the first bar."""
    found: np.ndarray = np.sqrt(kernels.smoothed(log_return(close) ** 2, decay))
    return found


def volatility(bars: Bars) -> dict[str, np.ndarray]:
    """All features of the group."""
    return {**_of_closes(bars.close), **_of_ranges(bars), **_of_bands(bars)}


def _of_closes(close: np.ndarray) -> dict[str, np.ndarray]:
    r = log_return(close)
    realised = {k: kernels.deviation(r, k) * np.sqrt(_YEAR) for k in (5, 10, 21, 63, 126)}
    found = {f"rv_{k}": value for k, value in realised.items()}
    skew, tails = kernels.shape(r, 63)
    down, up = np.where(r < 0, r**2, 0.0 * r), np.where(r > 0, r**2, 0.0 * r)
    above, below = kernels.mean(up, 63) + _LEAST_VARIANCE, kernels.mean(down, 63) + _LEAST_VARIANCE
    return found | {
        "ewma_vol_94": daily_volatility(close) * np.sqrt(_YEAR),
        "rv_ratio_5_21": ratio(realised[5], realised[21], 1.0),
        "rv_ratio_21_126": ratio(realised[21], realised[126], 1.0),
        "vol_of_vol_63": ratio(kernels.deviation(realised[5], 63), kernels.mean(realised[5], 63)),
        "down_vol_21": np.sqrt(_YEAR * kernels.mean(down, 21)),
        "updown_var_63": np.log(above / below),
        "rvi_14": talib.RVI(close, timeperiod=14, stddevperiod=10),
        "skew_63": skew,
        "kurt_63": tails,
        "rv_rank_252": talib.PERCENTRANK(realised[21], timeperiod=251),
    }


def _of_ranges(bars: Bars) -> dict[str, np.ndarray]:
    """Parkinson (1980), Garman and Klass (1980), Rogers and Satchell (1991), Yang and Zhang (2000), annualised."""
    width = np.log(bars.high / bars.low)
    body, top, bottom = (np.log(x / bars.open) for x in (bars.close, bars.high, bars.low))
    gap = np.log(bars.open / lagged(bars.close, 1))
    rogers = kernels.mean(top * (top - body) + bottom * (bottom - body), 21)
    klass = kernels.mean(0.5 * width**2 - (2 * np.log(2) - 1) * body**2, 21)
    share = 0.34 / (1.34 + 22 / 20)
    zhang = kernels.deviation(gap, 21) ** 2 + share * kernels.deviation(body, 21) ** 2 + (1 - share) * rogers
    return {
        "parkinson_21": np.sqrt(_YEAR * kernels.mean(width**2, 21) / (4 * np.log(2))),
        "garman_klass_21": np.sqrt(_YEAR * np.maximum(klass, 0.0)),
        "rogers_satchell_21": np.sqrt(_YEAR * np.maximum(rogers, 0.0)),
        "yang_zhang_21": np.sqrt(_YEAR * np.maximum(zhang, 0.0)),
        "natr_14": talib.NATR(bars.high, bars.low, bars.close, timeperiod=14),
        "natr_5": talib.NATR(bars.high, bars.low, bars.close, timeperiod=5),
    }


def _of_bands(bars: Bars) -> dict[str, np.ndarray]:
    """Bollinger bands by our own deviation, which is exactly 0 on equal closes; Keltner channels by TA-Lib."""
    close = bars.close
    middle, reach = kernels.mean(close, 20), 2 * kernels.deviation(close, 20)
    upper, centre, lower = talib.KC(bars.high, bars.low, close, timeperiod=20, atrperiod=10, nbdev=2.0)
    highest, lowest = talib.MAX(bars.high, timeperiod=20), talib.MIN(bars.low, timeperiod=20)
    return {
        "bb_pctb_20": ratio(close - (middle - reach), 2 * reach, 0.5),
        "bb_width_20": 2 * reach / middle,
        "kc_pos_20": ratio(close - centre, upper - centre),
        "squeeze_20": ratio(2 * reach, upper - lower, 1.0),
        "donchian_width_20": np.log(highest / lowest),
    }


def statistical(bars: Bars) -> dict[str, np.ndarray]:
    """Memory, randomness and spreads, from returns and ranges. A price that never moves: var_ratio_5_126 is 1."""
    close = bars.close
    r = log_return(close)
    before = lagged(r, 1)
    difference = kernels.fractional_difference(np.log(close), 0.4, 100)
    five = kernels.deviation(log_return(close, 5), 126) ** 2
    return {
        "autocorr1_63": kernels.correlation(r, before, 63),
        "hurst_126": kernels.hurst(np.log(close), 126),
        "var_ratio_5_126": ratio(five, 5 * kernels.deviation(r, 126) ** 2, 1.0),
        "perm_entropy_63": kernels.permutation_entropy(r, 63),
        "corwin_schultz_21": kernels.mean(_two_day_spread(bars), 21),
        "roll_spread_21": 2 * np.sqrt(np.maximum(-kernels.covariance(r, before, 21), 0.0)),
        "fracdiff04_z_100": kernels.standard_score(difference, 100),
    }


def _two_day_spread(bars: Bars) -> np.ndarray:
    """The bid-ask spread by which two days' ranges differ from their common one, 0 at least.

    Corwin and Schultz, A Simple Way to Estimate Bid-Ask Spreads from Daily High and Low Prices (2012), equation 14.
    """
    single = np.log(bars.high / bars.low) ** 2
    both = single + lagged(single, 1)
    high, low = np.maximum(bars.high, lagged(bars.high, 1)), np.minimum(bars.low, lagged(bars.low, 1))
    joint = np.log(high / low) ** 2
    root = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * both) - np.sqrt(both)) / root - np.sqrt(joint / root)
    return np.maximum(2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha)), 0.0)


def market_context(bars: Bars, market: np.ndarray, sector: np.ndarray) -> dict[str, np.ndarray]:
    """The symbol beside the market's fund and its sector's; beta is 0 while the market stands still."""
    own, theirs = log_return(bars.close), log_return(market)
    together = kernels.correlation(own, theirs, 63)
    return {
        "beta_spy_126": ratio(kernels.covariance(own, theirs, 126), kernels.deviation(theirs, 126) ** 2),
        "corr_spy_63": together,
        "idio_vol_63": kernels.deviation(own, 63)
        * np.sqrt(_YEAR)
        * np.sqrt(np.maximum(1 - together**2, 0.0)),
        "rel_spy_21": log_return(bars.close, 21) - log_return(market, 21),
        "rel_sector_5": log_return(bars.close, 5) - log_return(sector, 5),
        "rel_sector_63": log_return(bars.close, 63) - log_return(sector, 63),
        "spy_trend_50_200": np.log(kernels.mean(market, 50) / kernels.mean(market, 200)),
        "sector_rel_spy_21": log_return(sector, 21) - log_return(market, 21),
    }
