"""Features of trading: volume, liquidity, and the candles that a session draws.

Where a source has no volume (0 shares): ratios, slopes and correlations are 0, the money-flow index TA-Lib's 0, the
volume-weighted price is the plain mean of typical prices, and illiquidity, which divides by it, is 0. A candle without
a range has no shadows and no body.
"""

from __future__ import annotations

import numpy as np
import talib

from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.features import kernels
from perdure.pipelines.market.features.kernels import lagged, ratio
from perdure.pipelines.market.features.returns import log_return
from perdure.pipelines.market.features.trend import average_range

_LEAST_ILLIQUIDITY = 1e-15  # of one dollar's trade; keeps the log of a price that did not move finite
PATTERNS = (
    "CDL2CROWS", "CDL3BLACKCROWS", "CDL3INSIDE", "CDL3LINESTRIKE", "CDL3OUTSIDE", "CDL3STARSINSOUTH",
    "CDL3WHITESOLDIERS", "CDLABANDONEDBABY", "CDLADVANCEBLOCK", "CDLBELTHOLD", "CDLBREAKAWAY",
    "CDLCLOSINGMARUBOZU", "CDLCONCEALBABYSWALL", "CDLCOUNTERATTACK", "CDLDARKCLOUDCOVER", "CDLDOJI", "CDLDOJISTAR",
    "CDLDRAGONFLYDOJI", "CDLENGULFING", "CDLEVENINGDOJISTAR", "CDLEVENINGSTAR", "CDLGAPSIDESIDEWHITE",
    "CDLGRAVESTONEDOJI", "CDLHAMMER", "CDLHANGINGMAN", "CDLHARAMI", "CDLHARAMICROSS", "CDLHIGHWAVE", "CDLHIKKAKE",
    "CDLHIKKAKEMOD", "CDLHOMINGPIGEON", "CDLIDENTICAL3CROWS", "CDLINNECK", "CDLINVERTEDHAMMER", "CDLKICKING",
    "CDLKICKINGBYLENGTH", "CDLLADDERBOTTOM", "CDLLONGLEGGEDDOJI", "CDLLONGLINE", "CDLMARUBOZU", "CDLMATCHINGLOW",
    "CDLMATHOLD", "CDLMORNINGDOJISTAR", "CDLMORNINGSTAR", "CDLONNECK", "CDLPIERCING", "CDLRICKSHAWMAN",
    "CDLRISEFALL3METHODS", "CDLSEPARATINGLINES", "CDLSHOOTINGSTAR", "CDLSHORTLINE", "CDLSPINNINGTOP",
    "CDLSTALLEDPATTERN", "CDLSTICKSANDWICH", "CDLTAKURI", "CDLTASUKIGAP", "CDLTHRUSTING", "CDLTRISTAR",
    "CDLUNIQUE3RIVER", "CDLUPSIDEGAP2CROWS", "CDLXSIDEGAP3METHODS",
)  # fmt: skip
PENETRATION = {
    "CDLABANDONEDBABY": 0.3, "CDLDARKCLOUDCOVER": 0.5, "CDLEVENINGDOJISTAR": 0.3, "CDLEVENINGSTAR": 0.3,
    "CDLMATHOLD": 0.5, "CDLMORNINGDOJISTAR": 0.3, "CDLMORNINGSTAR": 0.3,
}  # fmt: skip
_HAMMERS = (
    "CDLHAMMER", "CDLINVERTEDHAMMER", "CDLDRAGONFLYDOJI", "CDLTAKURI", "CDLHANGINGMAN", "CDLSHOOTINGSTAR",
)  # fmt: skip
_STARS = ("CDLMORNINGSTAR", "CDLEVENINGSTAR", "CDLMORNINGDOJISTAR", "CDLEVENINGDOJISTAR")


def volume_liquidity(bars: Bars) -> dict[str, np.ndarray]:
    """All features of the group."""
    return {**_sizes(bars), **_flows(bars), **_illiquidity(bars)}


def _sizes(bars: Bars) -> dict[str, np.ndarray]:
    """How much was traded, against what is usual. One share is added so that a log of none exists."""
    volume, level = bars.volume, np.log(bars.volume + 1)
    average = {k: kernels.mean(volume, k) for k in (5, 20, 60)}
    change, r = volume - lagged(volume, 1), log_return(bars.close)
    moved = np.abs(r) * volume
    found = {f"vol_ratio_{k}": np.log((volume + 1) / (average[k] + 1)) for k in (5, 20, 60)}
    return found | {
        "vol_z_20": kernels.standard_score(level, 20),
        "vol_z_60": kernels.standard_score(level, 60),
        "dollar_vol_rank_252": talib.PERCENTRANK(bars.close * volume, timeperiod=252),
        "vol_trend_20_60": np.log((average[20] + 1) / (average[60] + 1)),
        "pvo_12_26": talib.PVO(volume, fastperiod=12, slowperiod=26, matype=1),
        "corr_cv_20": kernels.correlation(bars.close, level, 20),
        "cord_20": kernels.correlation(r, level - lagged(level, 1), 20),
        "vsumd_20": ratio(kernels.total(change, 20), kernels.total(np.abs(change), 20)),
        "wvma_20": ratio(kernels.deviation(moved, 20), kernels.mean(moved, 20)),
        "vol_cv_20": ratio(kernels.deviation(volume, 20), average[20]),
    }


def _flows(bars: Bars) -> dict[str, np.ndarray]:
    """Whether money came in or went out."""
    high, low, close, volume = bars.high, bars.low, bars.close, bars.volume
    traded, average = kernels.total(volume, 20), kernels.mean(volume, 20)
    flow = ratio((close - low) - (high - close), high - low) * volume
    typical = (high + low + close) / 3
    plain = kernels.mean(typical, 20)
    weighted = np.where(traded > 0, ratio(kernels.total(typical * volume, 20), traded), plain)
    force = talib.EFI(close, volume, timeperiod=13)
    return {
        "obv_slope_20": ratio(kernels.total(np.sign(log_return(close)) * volume, 20), traded),
        "ad_slope_20": ratio(kernels.total(flow, 20), traded),
        "adosc_3_10": ratio(talib.ADOSC(high, low, close, volume, fastperiod=3, slowperiod=10), average),
        "cmf_10": ratio(kernels.total(flow, 10), kernels.total(volume, 10)),
        "mfi_14": talib.MFI(high, low, close, volume, timeperiod=14),
        "efi_13": ratio(force, average * average_range(bars)),
        "vwap_dist_20": np.log(close / weighted),
    }


def _illiquidity(bars: Bars) -> dict[str, np.ndarray]:
    """Amihud (2002): the move that a dollar of trading comes with, over the days that had any."""
    dollars, r = bars.close * bars.volume, log_return(bars.close)
    each = ratio(np.abs(r), dollars)
    traded = np.where(np.isnan(r), np.nan, dollars > 0)
    found = {}
    for k in (21, 252):
        days = kernels.total(traded, k)
        size = np.log(ratio(kernels.total(each, k), days) + _LEAST_ILLIQUIDITY)
        found[k] = np.where(days == 0, 0.0, size)
    return {
        "amihud_21": found[21],
        "amihud_ratio_21_252": np.where(found[21] == 0, 0.0, found[21] - found[252]),
    }


def candle_pattern(bars: Bars) -> dict[str, np.ndarray]:
    """The shape of the session's candle, and the named patterns of the last sessions."""
    return {**_shape(bars), **_named(bars), **_jumps(bars)}


def _shape(bars: Bars) -> dict[str, np.ndarray]:
    opening, high, low, close = bars.open, bars.high, bars.low, bars.close
    span, above, below = high - low, high - np.maximum(opening, close), np.minimum(opening, close) - low
    return {
        "shadow_skew_10": kernels.mean(ratio(above - below, span), 10),
        "klen": span / opening,
        "kmid2": ratio(close - opening, span),
        "kup2": ratio(above, span),
        "klow2": ratio(below, span),
        "ksft2": ratio(2 * close - high - low, span),
    }


def _named(bars: Bars) -> dict[str, np.ndarray]:
    """Counts of TA-Lib's patterns, on the bar that completes each; how sure it is (80, 100, 200) is left out."""
    signs = {name: _pattern(name, bars) for name in PATTERNS}
    bulls, bears = sum(s > 0 for s in signs.values()), sum(s < 0 for s in signs.values())
    bullish, bearish = np.asarray(bulls, np.float64), np.asarray(bears, np.float64)
    return {
        "cdl_net_1": bullish - bearish,
        "cdl_bull_5": kernels.total(bullish, 5),
        "cdl_bear_5": kernels.total(bearish, 5),
        "cdl_net_21": kernels.total(bullish - bearish, 21),
        "cdl_engulf_5": kernels.total(signs["CDLENGULFING"], 5),
        "cdl_hammer_5": kernels.total(np.sum([signs[name] for name in _HAMMERS], axis=0), 5),
        "cdl_star_5": kernels.total(np.sum([signs[name] for name in _STARS], axis=0), 5),
        "cdl_doji_5": kernels.total(np.abs(signs["CDLDOJI"]), 5),
    }


def _pattern(name: str, bars: Bars) -> np.ndarray:
    options = {"penetration": PENETRATION[name]} if name in PENETRATION else {}
    found = getattr(talib, name)(bars.open, bars.high, bars.low, bars.close, **options)
    return np.sign(found).astype(np.float64)


def _jumps(bars: Bars) -> dict[str, np.ndarray]:
    high, low = lagged(bars.high, 1), lagged(bars.low, 1)
    known = np.where(np.isnan(high), np.nan, 0.0)
    inside = known + ((bars.high < high) & (bars.low > low))
    gaps = known + (bars.low > high) - (bars.high < low)
    return {"inside_bar_5": kernels.total(inside, 5), "open_gap_5": kernels.total(gaps, 5)}
