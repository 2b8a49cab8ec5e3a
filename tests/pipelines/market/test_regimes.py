"""A day's regime is what was known at its close, for good."""

import numpy as np

from market_bars import made
from perdure.pipelines.market.samples import regimes as module
from perdure.pipelines.market.samples.regimes import NAMES, UNKNOWN, regimes


def test_no_regime_changes_when_the_future_arrives():
    _, market, _ = made(700, seed=8)
    whole = regimes(market)
    for rows in (150, 200, 201, 350, 555, 699):
        np.testing.assert_array_equal(regimes(market[:rows]), whole[:rows])


def test_smoothing_would_be_noticed():
    _, market, _ = made(700, seed=8)
    volatility = module.kernels.deviation(module.log_return(market), 21)
    edges = np.nanquantile(volatility, [1 / 3, 2 / 3])
    assert (np.searchsorted(edges, volatility[300:]) != regimes(market)[300:] // 2).any()


def test_a_calm_rise_and_a_wild_fall_have_their_names():
    rng = np.random.default_rng(1)
    calm, wild = 0.001 + 0.002 * rng.standard_normal(300), -0.004 + 0.03 * rng.standard_normal(100)
    usual = 0.01 * rng.standard_normal(300)
    found = regimes(100 * np.exp(np.cumsum(np.concatenate([usual, calm, wild]))))
    assert NAMES[found[560]] == "calm, rising"
    assert NAMES[found[-1]] == "wild, falling"


def test_regimes_are_unknown_until_the_long_mean_has_its_days():
    found = regimes(made(300)[1])
    assert (found[:199] == UNKNOWN).all()
    assert ((found[199:] >= 0) & (found[199:] < len(NAMES))).all()


def test_a_market_that_stands_still_has_a_regime():
    assert set(regimes(np.full(300, 100.0))[199:].tolist()) == {0}
