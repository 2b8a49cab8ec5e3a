"""Samples stand on one grid of the market's days, common to all symbols."""

import numpy as np
import pytest

from market_bars import made, of_closes, weekdays
from perdure.pipelines.market.samples.funds import chained, on_days
from perdure.pipelines.market.samples.grid import Grid, TooFewSamplesError

CALENDAR = weekdays(2700, "2014-01-01")


def test_a_full_history_has_746_decisions_that_all_have_burn_in_and_outcome():
    days = Grid().decisions(CALENDAR)
    places = np.searchsorted(CALENDAR[-2520:], days)
    assert len(days) == 746
    assert (places[0], set(np.diff(places).tolist())) == (273, {3})
    assert places[-1] + 10 <= 2519


def test_a_tiny_grid_works():
    assert len(Grid(sessions=700, stride=5, least=20).decisions(CALENDAR)) == (700 - 273 - 10 + 4) // 5


def test_symbols_decide_on_the_same_days_whenever_they_were_listed():
    grid, window = Grid(), CALENDAR[-2520:]
    old = window[grid.rows("OLD", window, CALENDAR)]
    late = window[1000:]
    young = late[grid.rows("NEW", late, CALENDAR)]
    assert set(young) < set(old)
    assert young[0] >= late[273]
    assert len(young) == sum(day >= late[273] for day in old)


def test_a_day_without_a_bar_is_no_decision():
    grid, window = Grid(), CALENDAR[-2520:]
    missing = grid.decisions(CALENDAR)[50]
    days = window[window != missing]
    assert missing not in days[grid.rows("GAP", days, CALENDAR)]
    assert len(grid.rows("GAP", days, CALENDAR)) == 745


def test_no_decision_lacks_the_bars_of_its_outcome():
    grid, window = Grid(least=1), CALENDAR[-2520:]
    days = window[:-200]
    assert grid.rows("GONE", days, CALENDAR)[-1] + 10 < len(days)


def test_a_young_listing_is_refused_with_its_number_of_samples():
    days = CALENDAR[-600:]
    with pytest.raises(TooFewSamplesError, match=r"NEW has 106 samples from 600 bars, and 200 are needed"):
        Grid().rows("NEW", days, CALENDAR)
    assert len(Grid(least=106).rows("NEW", days, CALENDAR)) == 106


def test_a_fund_without_a_bar_keeps_its_last_close_and_trades_nothing():
    fund, _, _ = made(10)
    holes = fund.take(np.array([2, 3, 6, 7, 8, 9]))
    found = on_days(holes, fund.day)
    assert np.isnan(found.close[:2]).all()
    assert found.close[4] == found.open[4] == found.close[3] == fund.close[3]
    assert (found.volume[4], found.open[6]) == (0, fund.open[6])


def test_before_a_fund_was_listed_the_market_stands_in_with_its_returns():
    fund, market, _ = made(20)
    market = of_closes(market)
    young = on_days(fund.take(slice(8, None)), fund.day)
    found = chained(young, market)
    returns = found.close[1:] / found.close[:-1]
    assert returns[:8] == pytest.approx(market.close[1:9] / market.close[:8])
    assert returns[8:] == pytest.approx(fund.close[9:] / fund.close[8:-1])
    assert chained(fund, market) is fund


def test_a_chained_fund_does_not_change_when_the_future_arrives():
    fund, market, _ = made(20)
    market, late = of_closes(market), fund.take(slice(8, None))
    whole = chained(on_days(late, fund.day), market)
    for rows in (3, 8, 9, 15):
        known = late.until(fund.day[rows - 1])
        part = chained(on_days(known, fund.day[:rows]), market.take(slice(0, rows)))
        assert part.close.tobytes() == whole.close[:rows].tobytes()
        assert part.open.tobytes() == whole.open[:rows].tobytes()
