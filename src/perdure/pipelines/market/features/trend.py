"""Features of direction: averages, trends and oscillators, nearly all by TA-Lib.

TA-Lib divides by nothing nowhere: on a price that stands still it answers 0 (50 for IMI), which is kept. What is
measured in average true ranges is 0 while there is no range.
"""

from __future__ import annotations

import numpy as np
import talib

from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.features import kernels
from perdure.pipelines.market.features.kernels import lagged, ratio
from perdure.pipelines.market.features.returns import log_return

_LEAST_RANGE = 1e-9  # of the price; what is left of an average below it is rounding
_SIMPLE, _WILDER = 0, 13  # TA-Lib's numbers of moving averages


def average_range(bars: Bars) -> np.ndarray:
    """ATR(14), the unit of several features; 0 once it has died away on a price that stands still."""
    found = talib.ATR(bars.high, bars.low, bars.close, timeperiod=14)
    return np.where(found < _LEAST_RANGE * bars.close, 0.0, found)


def trend(bars: Bars) -> dict[str, np.ndarray]:
    """Where the price is heading, and how steadily."""
    return {**_averages(bars.close), **_directions(bars), **_lines(bars.close), **_stops(bars)}


def _averages(close: np.ndarray) -> dict[str, np.ndarray]:
    simple = {k: kernels.mean(close, k) for k in (5, 10, 20, 50, 100, 200)}
    found = {f"sma_ratio_{k}": np.log(close / average) for k, average in simple.items()}
    for k in (12, 26, 50):
        found[f"ema_ratio_{k}"] = np.log(close / talib.EMA(close, timeperiod=k))
    for fast, slow in ((5, 20), (20, 50), (50, 200)):
        found[f"sma_cross_{fast}_{slow}"] = np.log(simple[fast] / simple[slow])
    for k, span in ((20, 5), (50, 10), (200, 20)):
        found[f"sma_slope_{k}"] = np.log(simple[k] / lagged(simple[k], span))
    found["kama_ratio_10"] = np.log(close / talib.KAMA(close, timeperiod=10))
    return found


def _directions(bars: Bars) -> dict[str, np.ndarray]:
    high, low, close, unit = bars.high, bars.low, bars.close, average_range(bars)
    line, signal, histogram = talib.MACD(close, fastperiod=12, slowperiod=26, signalperiod=9)
    up, down = talib.VORTEX(high, low, close, timeperiod=14)
    return {
        "macd_atr": ratio(line, unit),
        "macd_signal_atr": ratio(signal, unit),
        "macd_hist_atr": ratio(histogram, unit),
        "trix_15": talib.TRIX(close, timeperiod=15),
        "adx_14": talib.ADX(high, low, close, timeperiod=14),
        "plus_di_14": talib.PLUS_DI(high, low, close, timeperiod=14),
        "minus_di_14": talib.MINUS_DI(high, low, close, timeperiod=14),
        "adxr_14": talib.ADXR(high, low, close, timeperiod=14),
        "aroonosc_25": talib.AROONOSC(high, low, timeperiod=25),
        "vortex_diff_14": up - down,
    }


def _lines(close: np.ndarray) -> dict[str, np.ndarray]:
    clock = np.arange(len(close), dtype=np.float64)
    found = {f"linreg_slope_{k}": talib.LINEARREG_SLOPE(close, timeperiod=k) / close for k in (20, 60)}
    for k in (20, 60):
        found[f"linreg_r2_{k}"] = kernels.correlation(close, clock, k) ** 2
    found["linreg_resid_20"] = (close - talib.LINEARREG(close, timeperiod=20)) / close
    return found


def _stops(bars: Bars) -> dict[str, np.ndarray]:
    high, low, close = bars.high, bars.low, bars.close
    stop, _ = talib.SUPERTREND(high, low, close, timeperiod=10, multiplier=3.0)
    return {
        "psar_dist": np.log(close / talib.SAR(high, low, acceleration=0.02, maximum=0.2)),
        "supertrend_dist_10_3": ratio(close - stop, average_range(bars)),
    }


def momentum(bars: Bars) -> dict[str, np.ndarray]:
    """Oscillators: how strong the last moves were, and whether they tire."""
    return {**_strengths(bars), **_stochastics(bars), **_others(bars)}


def _strengths(bars: Bars) -> dict[str, np.ndarray]:
    close, r = bars.close, log_return(bars.close)
    found = {f"rsi_{k}": talib.RSI(close, timeperiod=k) for k in (2, 7, 14, 28)}
    found["rsi_14_chg_5"] = found["rsi_14"] - lagged(found["rsi_14"], 5)
    found["rsi_price_corr_14"] = kernels.correlation(found["rsi_14"], close, 14)
    found["connors_rsi"] = (
        talib.RSI(close, timeperiod=3)
        + talib.RSI(kernels.streak(r), timeperiod=2)
        + talib.PERCENTRANK(r, timeperiod=100)
    ) / 3
    return found


def _stochastics(bars: Bars) -> dict[str, np.ndarray]:
    high, low, close = bars.high, bars.low, bars.close
    slow, slower = talib.STOCH(
        high, low, close, fastk_period=14, slowk_period=3, slowk_matype=_SIMPLE, slowd_period=3,
        slowd_matype=_SIMPLE,
    )  # fmt: skip
    of_rsi, _ = talib.STOCHRSI(close, timeperiod=14, fastk_period=14, fastd_period=3, fastd_matype=_SIMPLE)
    _, _, j_line = talib.KDJ(
        high, low, close, fastk_period=9, slowk_period=3, slowk_matype=_WILDER, slowd_period=3,
        slowd_matype=_WILDER,
    )  # fmt: skip
    index, _ = talib.SMI(high, low, close, timeperiod=13, fastperiod=2, slowperiod=25, signalperiod=9)
    return {
        "stoch_k_14": slow,
        "stoch_d_14": slower,
        "stochrsi_14": of_rsi,
        "kdj_j_9": j_line,
        "smi": index,
        "willr_14": talib.WILLR(high, low, close, timeperiod=14),
    }


def _others(bars: Bars) -> dict[str, np.ndarray]:
    opening, high, low, close, unit = bars.open, bars.high, bars.low, bars.close, average_range(bars)
    bulls, bears = talib.ERI(high, low, close, timeperiod=13)
    return {
        "cci_20": talib.CCI(high, low, close, timeperiod=20),
        "ultosc_7_14_28": talib.ULTOSC(high, low, close, timeperiod1=7, timeperiod2=14, timeperiod3=28),
        "bop_14": kernels.mean(talib.BOP(opening, high, low, close), 14),
        "tsi_25_13": talib.TSI(close, firstperiod=25, secondperiod=13),
        "imi_14": talib.IMI(opening, close, timeperiod=14),
        "ao_5_34_atr": ratio(talib.AO(high, low, fastperiod=5, slowperiod=34), unit),
        "fosc_14": talib.FOSC(close, timeperiod=14),
        "vhf_28": talib.VHF(close, timeperiod=28),
        "qstick_10_atr": ratio(talib.QSTICK(opening, close, timeperiod=10), unit),
        "er_10": talib.ER(close, timeperiod=10),
        "eri_bull_13_atr": ratio(bulls, unit),
        "eri_bear_13_atr": ratio(bears, unit),
    }
