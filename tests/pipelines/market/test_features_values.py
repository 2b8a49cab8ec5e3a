"""Features have the values of their definitions, by plain loops over the same bars."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_bars import made
from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.features import kernels
from perdure.pipelines.market.features.matrix import technical
from perdure.pipelines.market.features.returns import daily_volatility

BARS, MARKET, SECTOR = made(420, seed=2)
FOUND = technical(BARS, market=MARKET, sector=SECTOR)
C, OPEN, H, L, V = BARS.close, BARS.open, BARS.high, BARS.low, BARS.volume
R = np.concatenate([[0.0], np.log(C[1:] / C[:-1])])
RM = np.concatenate([[0.0], np.log(MARKET[1:] / MARKET[:-1])])
T = 400


def window(x, width, t=T):
    return [float(v) for v in x[t - width + 1 : t + 1]]


def wilder(x, period, first):
    """Wilder's mean of x from index `first` on, at T."""
    level = sum(x[first : first + period]) / period
    for t in range(first + period, T + 1):
        level = (level * (period - 1) + x[t]) / period
    return level


def true_range(t):
    return max(H[t] - L[t], abs(H[t] - C[t - 1]), abs(L[t] - C[t - 1]))


def rsi(x, period):
    ups = [0.0, *(max(b - a, 0.0) for a, b in pairwise(x))]
    downs = [0.0, *(max(a - b, 0.0) for a, b in pairwise(x))]
    up, down = wilder(ups, period, 1), wilder(downs, period, 1)
    return 100 * up / (up + down)


def streaks():
    run, out = 0, [0.0]
    for r in R[1:]:
        way = int(r > 0) - int(r < 0)
        run = run + way if run * way > 0 else way
        out.append(float(run))
    return out


def connors():
    rank = sum(r < R[T] for r in R[T - 100 : T])
    return (rsi(C, 3) + rsi(streaks(), 2) + rank) / 3


def deepest(width):
    return min(math.log(C[b] / C[a]) for a in range(T - width + 1, T + 1) for b in range(a, T + 1))


def slope(y):
    x = np.arange(len(y)) - (len(y) - 1) / 2
    return float((x * y).sum() / (x**2).sum())


def beta():
    own, theirs = window(R, 126), window(RM, 126)
    return float(np.cov(own, theirs)[0, 1] / np.var(theirs, ddof=1))


def ewma():
    level = R[1] ** 2
    for r in R[2 : T + 1]:
        level = 0.94 * level + 0.06 * r**2
    return math.sqrt(252 * level)


def money_flow(width):
    share = [((C[t] - L[t]) - (H[t] - C[t])) / (H[t] - L[t]) * V[t] for t in range(T - width + 1, T + 1)]
    return sum(share) / sum(window(V, width))


def gaps():
    return [math.log(OPEN[t] / C[t - 1]) for t in range(T - 20, T + 1)]


def yang_zhang():
    body = [math.log(c / o) for c, o in zip(window(C, 21), window(OPEN, 21), strict=True)]
    rogers = [
        math.log(h / o) * math.log(h / c) + math.log(low / o) * math.log(low / c)
        for o, h, low, c in zip(window(OPEN, 21), window(H, 21), window(L, 21), window(C, 21), strict=True)
    ]
    k = 0.34 / (1.34 + 22 / 20)
    return math.sqrt(252 * (np.var(gaps()) + k * np.var(body) + (1 - k) * np.mean(rogers)))


def corwin_schultz():
    spreads = []
    for t in range(T - 20, T + 1):
        b = math.log(H[t] / L[t]) ** 2 + math.log(H[t - 1] / L[t - 1]) ** 2
        g = math.log(max(H[t], H[t - 1]) / min(L[t], L[t - 1])) ** 2
        k = 3 - 2 * math.sqrt(2)
        a = (math.sqrt(2 * b) - math.sqrt(b)) / k - math.sqrt(g / k)
        spreads.append(max(0.0, 2 * (math.exp(a) - 1) / (1 + math.exp(a))))
    return sum(spreads) / 21


def fractional(t):
    weight, value = 1.0, 0.0
    for k in range(100):
        weight = 1.0 if k == 0 else -weight * (0.4 - k + 1) / k
        value += weight * math.log(C[t - k])
    return value


def fractional_score():
    values = [fractional(t) for t in range(T - 99, T + 1)]
    return (values[-1] - np.mean(values)) / np.std(values)


def entropy():
    orders = [tuple(np.argsort(R[t - 2 : t + 1])) for t in range(T - 62, T + 1)]
    shares = [orders.count(order) / 63 for order in set(orders)]
    return -sum(p * math.log(p) for p in shares) / math.log(6)


def realised(width, t=T):
    return float(np.std(window(R, width, t)) * math.sqrt(252))


def sma(width, t=T):
    return float(np.mean(window(C, width, t)))


def ratio_of_ups():
    r = np.array(window(R, 63))
    return math.log((np.mean(np.where(r > 0, r**2, 0)) + 1e-9) / (np.mean(np.where(r < 0, r**2, 0)) + 1e-9))


def amihud(width):
    return math.log(np.mean([abs(R[t]) / (C[t] * V[t]) for t in range(T - width + 1, T + 1)]) + 1e-15)


def bollinger():
    return (C[T] - (sma(20) - 2 * np.std(window(C, 20)))) / (4 * np.std(window(C, 20)))


EXPECTED = {
    "ret_1": lambda: math.log(C[T] / C[T - 1]),
    "ret_63": lambda: math.log(C[T] / C[T - 63]),
    "mom_12_1": lambda: math.log(C[T - 21] / C[T - 252]),
    "gap_sum_21": lambda: sum(gaps()),
    "up_frac_21": lambda: sum(r > 0 for r in window(R, 21)) / 21,
    "run_len": lambda: max(-10.0, min(10.0, streaks()[T])),
    "max_ret_21": lambda: max(window(R, 21)),
    "ret_accel_21": lambda: math.log(C[T] / C[T - 21]) - math.log(C[T - 21] / C[T - 42]),
    "dist_high_60": lambda: math.log(C[T] / max(window(H, 60))),
    "rsv_20": lambda: (C[T] - min(window(L, 20))) / (max(window(H, 20)) - min(window(L, 20))),
    "rank_60": lambda: 100 * sum(c < C[T] for c in C[T - 60 : T]) / 60,
    "imax_20": lambda: (19 - int(np.argmax(window(H, 20)))) / 20,
    "imin_60": lambda: (59 - int(np.argmin(window(L, 60)))) / 60,
    "maxdd_63": lambda: deepest(63),
    "sma_cross_20_50": lambda: math.log(sma(20) / sma(50)),
    "sma_slope_50": lambda: math.log(sma(50) / sma(50, T - 10)),
    "linreg_slope_20": lambda: slope(np.array(window(C, 20))) / C[T],
    "linreg_r2_20": lambda: float(np.corrcoef(window(C, 20), np.arange(20))[0, 1] ** 2),
    "rsi_14": lambda: rsi(C, 14),
    "connors_rsi": connors,
    "willr_14": lambda: -100 * (max(window(H, 14)) - C[T]) / (max(window(H, 14)) - min(window(L, 14))),
    "natr_14": lambda: 100 * wilder([0.0, *(true_range(t) for t in range(1, T + 1))], 14, 1) / C[T],
    "bop_14": lambda: float(np.mean([(C[t] - OPEN[t]) / (H[t] - L[t]) for t in range(T - 13, T + 1)])),
    "er_10": lambda: abs(C[T] - C[T - 10]) / sum(abs(C[t] - C[t - 1]) for t in range(T - 9, T + 1)),
    "rv_21": lambda: realised(21),
    "rv_ratio_5_21": lambda: realised(5) / realised(21),
    "vol_of_vol_63": lambda: float(
        np.std([realised(5, t) for t in range(T - 62, T + 1)])
        / np.mean([realised(5, t) for t in range(T - 62, T + 1)])
    ),
    "rv_rank_252": lambda: 100 * sum(realised(21, t) < realised(21) for t in range(T - 251, T)) / 251,
    "ewma_vol_94": ewma,
    "yang_zhang_21": yang_zhang,
    "bb_pctb_20": bollinger,
    "updown_var_63": ratio_of_ups,
    "skew_63": lambda: float(
        np.mean((np.array(window(R, 63)) - np.mean(window(R, 63))) ** 3) / np.std(window(R, 63)) ** 3
    ),
    "vol_z_20": lambda: (
        (math.log(V[T] + 1) - np.mean(np.log(np.array(window(V, 20)) + 1)))
        / np.std(np.log(np.array(window(V, 20)) + 1))
    ),
    "obv_slope_20": lambda: sum(np.sign(R[t]) * V[t] for t in range(T - 19, T + 1)) / sum(window(V, 20)),
    "cmf_10": lambda: money_flow(10),
    "ad_slope_20": lambda: money_flow(20),
    "vwap_dist_20": lambda: math.log(
        C[T] * sum(window(V, 20)) / sum(((H + L + C) / 3 * V)[t] for t in range(T - 19, T + 1))
    ),
    "amihud_21": lambda: amihud(21),
    "amihud_ratio_21_252": lambda: amihud(21) - amihud(252),
    "klow2": lambda: (min(OPEN[T], C[T]) - L[T]) / (H[T] - L[T]),
    "inside_bar_5": lambda: sum(H[t] < H[t - 1] and L[t] > L[t - 1] for t in range(T - 4, T + 1)),
    "autocorr1_63": lambda: float(np.corrcoef(window(R, 63), window(R, 63, T - 1))[0, 1]),
    "perm_entropy_63": entropy,
    "corwin_schultz_21": corwin_schultz,
    "fracdiff04_z_100": fractional_score,
    "beta_spy_126": beta,
    "corr_spy_63": lambda: float(np.corrcoef(window(R, 63), window(RM, 63))[0, 1]),
    "rel_sector_5": lambda: math.log(C[T] / C[T - 5]) - math.log(SECTOR[T] / SECTOR[T - 5]),
    "sector_rel_spy_21": lambda: math.log(SECTOR[T] / SECTOR[T - 21]) - math.log(MARKET[T] / MARKET[T - 21]),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_feature_has_the_value_of_its_definition(name):
    assert FOUND[name][T] == pytest.approx(EXPECTED[name](), rel=1e-7, abs=1e-10)


def test_features_do_not_depend_on_the_currency_or_the_count_of_shares():
    twice = Bars(BARS.day, 4 * OPEN, 4 * H, 4 * L, 4 * C, V)
    other = technical(twice, market=MARKET, sector=SECTOR)
    differing = [
        name
        for name, value in FOUND.items()
        if not name.startswith("amihud")
        and not np.allclose(value[300:], other[name][300:], rtol=1e-6, atol=1e-9)
    ]
    assert differing == []


def test_an_engulfing_candle_is_counted_once_for_five_bars():
    close = 10 + 0.1 * np.arange(60)
    opening = close - 0.1
    opening[40], close[40], opening[41], close[41] = 14.0, 13.9, 13.8, 14.2
    high, low = np.maximum(opening, close) + 0.02, np.minimum(opening, close) - 0.02
    bars = Bars(BARS.day[:60], opening, high, low, close, BARS.volume[:60])
    found = technical(bars, market=MARKET[:60], sector=SECTOR[:60])["cdl_engulf_5"]
    assert found[[40, 41, 45, 46]].tolist() == [0, 1, 1, 0]


def test_full_gaps_down_are_taken_off_those_up():
    close = np.full(60, 10.0)
    close[40:], close[42:], close[43:] = 12.0, 11.0, 13.0
    bars = Bars(BARS.day[:60], close, close + 0.1, close - 0.1, close, BARS.volume[:60])
    found = technical(bars, market=MARKET[:60], sector=SECTOR[:60])["open_gap_5"]
    assert found[39:50].tolist() == [0, 1, 1, 0, 1, 1, 0, 0, 1, 0, 0]


def test_the_first_known_return_begins_the_volatility():
    found = daily_volatility(np.array([100.0, 110.0, 99.0]))
    first, second = math.log(1.1), math.log(0.9)
    assert np.isnan(found[0])
    assert found[1:] == pytest.approx([first, math.sqrt(0.94 * first**2 + 0.06 * second**2)])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=12, max_size=12), st.integers(2, 6))
def test_rolling_statistics_are_those_of_each_window(values, width):
    x, y = np.array(values, float), np.roll(np.array(values, float), 3) + 1.0
    for t in range(width - 1, len(x)):
        part, other = x[t - width + 1 : t + 1], y[t - width + 1 : t + 1]
        assert kernels.total(x, width)[t] == part.sum()
        assert kernels.deviation(x, width)[t] == pytest.approx(np.std(part))
        varies = np.ptp(part) > 0 and np.ptp(other) > 0
        expected = np.corrcoef(part, other)[0, 1] if varies else 0.0
        assert kernels.correlation(x, y, width)[t] == pytest.approx(expected, abs=1e-12)


def test_equal_values_have_no_deviation_no_correlation_and_no_shape():
    still, moving = np.full(10, 0.1), np.arange(10.0)
    assert (kernels.deviation(still, 7)[6:] == 0).all()
    assert (kernels.correlation(still, moving, 7)[6:] == 0).all()
    assert (kernels.shape(still, 7)[0][6:] == 0).all()
    assert (kernels.standard_score(still, 7)[6:] == 0).all()
