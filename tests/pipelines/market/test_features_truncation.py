"""No feature sees the future: what is computed on a past is what was computed for it, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_bars import REAL, happenings, made
from perdure.pipelines.market.data.events import Events
from perdure.pipelines.market.features import catalogue, matrix
from perdure.pipelines.market.features.calendar import cut_offs
from perdure.pipelines.market.features.matrix import BURN_IN


def differing(bars, market, sector, events, vix, rows, build=matrix.matrix, vix3m=None):
    """Names of features that change somewhere in the past when only the first `rows` bars are known."""
    whole = build(bars, market, sector, events, vix, vix3m)
    part = build(
        bars.take(slice(0, rows)), market[:rows], sector[:rows], events.until(cut_offs(bars.day[rows - 1 : rows])[0]),
        vix[:rows], None if vix3m is None else vix3m[:rows],
    )  # fmt: skip
    names = catalogue.names()
    return [names[j] for j in range(len(names)) if whole[:rows, j].tobytes() != part[:, j].tobytes()]


@pytest.fixture(scope="module")
def market():
    bars, index, sector = made(620, seed=3)
    rng = np.random.default_rng(4)
    vix = 15 * np.exp(np.cumsum(rng.normal(0, 0.03, len(bars))))
    return bars, index, sector, happenings(bars.day), vix


@settings(max_examples=8, deadline=None)
@given(rows=st.integers(1, 619))
def test_no_feature_of_a_past_day_changes_when_the_future_arrives(market, rows):
    assert differing(*market, rows) == []


@pytest.mark.parametrize("rows", [273, 274, 300, 401, 512, 619])
def test_no_feature_changes_either_with_a_term_structure_of_the_vix(market, rows):
    assert differing(*market, rows, vix3m=market[4] * 1.1) == []


@pytest.mark.parametrize("name", REAL)
def test_no_feature_of_real_prices_changes_when_the_future_arrives(name):
    bars = REAL[name]()
    bars = bars.take(slice(max(len(bars) - 1100, 0), None))
    index = np.sqrt(bars.close) * 10
    for rows in (274, 500, len(bars) - 1):
        assert differing(bars, index, index, Events.none(), bars.close, rows) == []


@pytest.mark.parametrize("name", REAL)
def test_every_feature_of_real_prices_is_finite_after_the_burn_in(name):
    bars = REAL[name]()
    bars = bars.take(slice(max(len(bars) - 2520, 0), None))
    values = matrix.matrix(bars, bars.close, bars.close, happenings(bars.day), bars.close, None)
    wrong = ~np.isfinite(values[BURN_IN:])
    assert [catalogue.names()[j] for j in np.flatnonzero(wrong.any(axis=0))] == []


def tomorrow(x):
    return np.append(x[1:], x[-1])


def whole_scale(x):
    return x / np.nanstd(x)


@pytest.mark.parametrize(
    ("feature", "leak"), [("ret_1", tomorrow), ("rv_21", whole_scale), ("news_sent_1", tomorrow), ("vix_log", tomorrow)]
)  # fmt: skip
def test_a_planted_look_ahead_is_seen_and_named(market, feature, leak):
    column = catalogue.names().index(feature)

    def leaking(*arguments):
        values = matrix.matrix(*arguments)
        values[:, column] = leak(values[:, column])
        return values

    assert differing(*market, 450, build=leaking) == [feature]


def test_where_history_starts_matters_no_more_after_the_burn_in():
    bars, index, sector = made(1000, seed=5)
    events, vix = happenings(bars.day), index / 5
    whole = matrix.matrix(bars, index, sector, events, vix, None)[300 + BURN_IN :]
    late = slice(300, None)
    part = matrix.matrix(bars.take(late), index[late], sector[late], events, vix[late], None)[BURN_IN:]
    apart = np.abs(whole - part).max(axis=0) / whole.std(axis=0).clip(1e-12)
    assert {catalogue.names()[j]: apart[j] for j in np.flatnonzero(~(apart < 1e-3))} == {}


def test_most_features_forget_what_lies_before_their_window_to_the_last_bit():
    bars, index, sector = made(700, seed=6)
    bars = bars.take(np.arange(700))
    wild = bars.take(np.arange(700))
    for price in (wild.open, wild.high, wild.low, wild.close):
        price[:100] *= 1000.0
    wild.volume[:100] *= 1e6
    calm, after = (
        matrix.technical(b, market=index, sector=sector) for b in (bars, wild)
    )  # fmt: skip
    for name in (
        "rv_63",
        "skew_63",
        "vol_z_60",
        "cmf_10",
        "corr_cv_20",
        "hurst_126",
        "beta_spy_126",
        "amihud_21",
    ):
        assert calm[name][400:].tobytes() == after[name][400:].tobytes(), name
