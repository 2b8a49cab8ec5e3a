"""The long-short portfolio against hand-made days, and its ratios against simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from made_forecasts import made
from perdure.errors import UsageError
from perdure.pipelines.market.evaluation import portfolio


def single(probability, ret):
    """Forecasts of one day."""
    whole = made(days=1, symbols=len(probability), blocks=1)
    return replace(whole, probability=np.asarray(probability), ret=np.asarray(ret))


def test_the_best_fifth_is_bought_and_the_worst_sold():
    held = portfolio.book(
        single(np.linspace(0.1, 0.9, 10), [-0.04, -0.02, *[9.0] * 6, 0.01, 0.03]),
        cost_bp=0,
        horizon=3,
        stride=3,
    )
    assert held.gross == pytest.approx([0.02 + 0.03])


def test_every_trade_pays_in_and_out_on_both_sides():
    held = portfolio.book(single(np.linspace(0.1, 0.9, 10), np.zeros(10)), cost_bp=5, horizon=3, stride=3)
    assert held.net == pytest.approx([-4 * 5e-4])


def test_open_baskets_share_the_capital():
    held = portfolio.book(single(np.linspace(0.1, 0.9, 10), np.r_[np.zeros(8), 0.04, 0.04]), cost_bp=5)
    assert held.overlap == 4
    assert held.gross == pytest.approx([0.01]) and held.cost == pytest.approx([5e-4])


def test_forecasts_that_do_not_tell_names_apart_trade_nothing():
    held = portfolio.book(single(np.full(20, 0.5), np.linspace(-1, 1, 20)))
    assert held.gross == pytest.approx([0], abs=1e-15)
    assert held.cost == pytest.approx([0], abs=1e-15)


def test_names_tied_at_the_edge_share_its_places():
    probability = np.r_[0.1, 0.2, np.full(5, 0.4), 0.6, 0.6, 0.6]
    held = portfolio.book(
        single(probability, [0, 0, 0, 0, 0, 0, 0, 3, 6, 9.0]), cost_bp=0, horizon=1, stride=1
    )
    assert held.gross == pytest.approx([6.0])


def test_the_order_of_rows_changes_nothing():
    whole = made(days=30, signal=0.2)
    mixed = whole.take(np.random.default_rng(1).permutation(len(whole)))
    assert portfolio.book(whole).net.tobytes() == portfolio.book(mixed).net.tobytes()


def test_days_with_few_names_are_left_out():
    whole = made(days=6, symbols=12)
    late = whole.take((whole.day > whole.day.min()) | (whole.symbol < "S09"))
    assert len(portfolio.book(late).day) == 5
    assert len(portfolio.book(whole.take(whole.symbol < "S09")).day) == 0


def test_two_forecasts_of_one_day_and_symbol_are_refused():
    whole = made(days=3)
    with pytest.raises(UsageError, match="73 forecasts are of 72 days"):
        portfolio.book(whole.take(np.r_[np.arange(72), 5]))


def test_a_name_that_stays_is_not_traded_when_netted():
    whole = made(days=40)
    rank = np.tile(np.linspace(0.1, 0.9, 24), 40)
    same = portfolio.book(replace(whole, probability=rank), horizon=10, stride=3)
    assert same.turnover[:4] == pytest.approx(0.5)  # a quarter of 2 for each of the first four baskets
    assert same.turnover[4:-1] == pytest.approx(0)
    assert same.turnover[-1] == pytest.approx(2)  # all is sold at the end
    assert same.netted_cost.sum() == pytest.approx(4 * 5e-4) and same.cost.sum() == pytest.approx(40 * 5e-4)


def test_netted_costs_are_never_above_those_of_every_trade():
    held = portfolio.book(made(days=60, signal=0.3))
    assert 0 < held.netted_cost.sum() <= held.cost.sum() * (1 + 1e-12)


def test_max_drawdown_is_from_the_height_so_far():
    assert portfolio.max_drawdown(np.array([0.1, -0.3, 0.1, -0.05, 0.4])) == pytest.approx(0.3)
    assert portfolio.max_drawdown(np.array([-0.2, 0.5])) == pytest.approx(0.2)
    assert portfolio.max_drawdown(np.array([0.1])) == 0


def test_overlap_does_not_flatter_the_sharpe_ratio():
    """Sums over 4 periods, booked each period a quarter: the truth is that of the single periods."""
    rng = np.random.default_rng(0)
    single_periods = 0.05 + rng.standard_normal(40_003)
    overlapping = sum(single_periods[k : k + 40_000] for k in range(4)) / 4
    assert portfolio.sharpe(overlapping, overlap=4) == pytest.approx(0.05, rel=0.15)
    assert portfolio.sharpe(overlapping, overlap=1) > 0.08  # what ignoring the overlap would claim
    assert portfolio.independent_entries(overlapping, overlap=4) == pytest.approx(10_000, rel=0.1)


def test_entries_that_disagree_by_chance_do_not_flatter_either():
    x = np.tile([1.0, -0.9], 50)
    assert portfolio.long_run_variance(x, overlap=4) == pytest.approx(np.var(x, ddof=1))


def test_the_probabilistic_sharpe_ratio_is_the_published_one():
    """Bailey & Lopez de Prado 2014: Sharpe 2.5 a year on 1,250 days, skewness -3, kurtosis 10, 100 trials -> 0.9004."""
    benchmark = portfolio.best_by_chance(100, 0.5 / 250)
    assert benchmark == pytest.approx(0.1132, abs=5e-5)
    daily = 2.5 / math.sqrt(250)
    spread = math.sqrt(1 + 3 * daily + 9 / 4 * daily**2)
    from scipy.stats import norm

    assert norm.cdf((daily - benchmark) * math.sqrt(1249) / spread) == pytest.approx(0.9004, abs=5e-5)
    x = np.random.default_rng(1).standard_normal(1250)
    x = (x - x.mean()) / x.std(ddof=1) + daily
    normal = portfolio.deflated_sharpe(x, 1250.0, trials=100, variance=0.5 / 250)
    assert normal == pytest.approx(norm.cdf((daily - benchmark) * math.sqrt(1249)), abs=0.01)


def test_the_best_by_chance_is_what_worthless_tries_show():
    rng = np.random.default_rng(2)
    best = rng.standard_normal((4000, 20)).max(axis=1).mean() * 0.1
    assert portfolio.best_by_chance(20, 0.01) == pytest.approx(best, rel=0.05)
    assert portfolio.best_by_chance(1, 0.01) == 0


def test_more_trials_leave_less_belief():
    figures = [
        portfolio.summary(portfolio.book(made(signal=0.05)), trials=n)["deflated_sharpe"]
        for n in (1, 10, 1000)
    ]
    assert 1 > figures[0] > figures[1] > figures[2] > 0


def test_one_trial_is_not_deflated():
    figures = portfolio.summary(portfolio.book(made(signal=0.1)), trials=1)
    assert figures["deflated_sharpe"] == figures["probabilistic_sharpe"]


def test_a_signal_earns_and_none_does_not():
    good, null = (
        portfolio.summary(portfolio.book(made(days=300, signal=signal)), trials=1) for signal in (0.3, 0.0)
    )
    assert good["net_per_year"] > 0.2 and good["sharpe"] > 3 and good["probabilistic_sharpe"] > 0.99
    assert null["net_per_year"] < 0.05 and abs(null["sharpe"]) < 3.5


def test_an_empty_portfolio_is_undefined_and_no_error():
    figures = portfolio.summary(portfolio.book(made(days=5, symbols=4)), trials=3)
    assert figures["days"] == 0 and math.isnan(figures["sharpe"]) and math.isnan(figures["max_drawdown"])
