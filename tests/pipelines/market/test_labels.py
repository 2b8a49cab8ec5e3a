"""A label is what a decision at a close would have earned, entered at the next open."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from market_bars import made, of_closes, weekdays
from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.features.returns import daily_volatility
from perdure.pipelines.market.samples.labels import triple_barrier

CALM = 100 * np.exp(0.01 * (np.arange(60) % 2))  # every day one per cent up or down: a barrier of 3.16 %
AT = 49
SECTOR = of_closes(np.full(75, 50.0))


def path(*moves, opening=None):
    """Bars whose closes follow CALM up to row AT, then the moves in per cent from the close of AT."""
    later = CALM[AT] * (1 + np.array(moves) / 100)
    close = np.concatenate([CALM[: AT + 1], later, np.full(75 - AT - 1 - len(moves), later[-1])])
    bars = of_closes(close)
    if opening is not None:
        start = bars.open.copy()
        start[AT + 1] = CALM[AT] * (1 + opening / 100)
        bars = replace(bars, open=start)
    return bars


def label(bars, sector=SECTOR, **options):
    return triple_barrier(bars, np.array([AT]), sector=sector, **options)


def test_the_upper_barrier_ends_a_trade_on_its_first_close_beyond():
    found = label(path(0, 2, 5, -9, 0))
    assert (found.barrier[0], found.y[0]) == (1, 1)
    assert found.t1[0] == weekdays(75)[AT + 3]
    assert found.ret[0] == pytest.approx(0.05)


def test_the_lower_barrier_ends_a_trade_though_it_would_have_recovered():
    found = label(path(0, 2, -5, 9, 9))
    assert (found.barrier[0], found.y[0], found.ret[0]) == (-1, 0, pytest.approx(-0.05))
    assert (found.first[0], found.last[0]) == (AT + 1, AT + 3)


def test_a_trade_that_touches_nothing_ends_after_the_horizon():
    found = label(path(0, 1, 0, 1, 2, 1, 0, 1, 2, 1.5, 40))
    assert (found.barrier[0], found.last[0], found.ret[0]) == (0, AT + 10, pytest.approx(0.015))
    assert label(path(0, 1, 0, 1), horizon=3).last[0] == AT + 3


def test_a_trade_begins_at_the_open_and_not_at_the_close_of_the_decision():
    gap = path(6, 6.5, 6.5, opening=6)
    found = label(gap)
    assert (found.barrier[0], found.ret[0]) == (0, pytest.approx(1.065 / 1.06 - 1))
    own_sector = label(gap, gap)
    assert own_sector.excess[0] == 0


def test_the_first_day_counts_from_its_open():
    found = label(path(6, 6, opening=0))
    assert (found.barrier[0], found.last[0], found.ret[0]) == (1, AT + 1, pytest.approx(0.06))


def test_barriers_are_judged_at_closes_and_not_inside_a_day():
    bars = path(0, 1, 0, 1)
    wild = replace(bars, high=bars.high * 1.5, low=bars.low * 0.5)
    assert label(wild).barrier[0] == 0


def test_the_barrier_is_as_wide_as_ten_days_of_the_volatility_known_at_the_decision():
    width = daily_volatility(path(0).close)[AT] * np.sqrt(10)
    inside, beyond = 100 * (np.exp(width * 0.999) - 1), 100 * (np.exp(width * 1.001) - 1)
    assert label(path(0, inside, 0)).barrier[0] == 0
    assert label(path(0, beyond, 0)).barrier[0] == 1


def test_a_rise_that_lags_its_sector_is_a_failure_unless_the_target_is_absolute():
    rising = 50 * np.exp(0.01 * np.maximum(np.arange(75) - AT - 1, 0))
    sector = of_closes(rising)
    bars = path(0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    found = label(bars, sector)
    assert found.excess[0] == pytest.approx(0.009 - (np.exp(0.09) - 1))
    assert (found.y[0], label(bars, sector, target="absolute").y[0]) == (0, 1)


def test_a_price_that_has_never_moved_has_no_barrier():
    still = of_closes(np.concatenate([np.full(60, 100.0), np.full(15, 101.0)]))
    assert triple_barrier(still, np.array([55]), sector=SECTOR).barrier[0] == 0
    assert triple_barrier(still, np.array([55]), sector=SECTOR).last[0] == 65


def naive(bars, row, horizon):
    width = daily_volatility(bars.close)[row] * np.sqrt(horizon)
    for day in range(row + 1, row + horizon + 1):
        move = np.log(bars.close[day] / bars.open[row + 1])
        if abs(move) >= width:
            return day, int(np.sign(move))
    return row + horizon, 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), horizon=st.integers(1, 15))
def test_labels_are_those_of_a_day_by_day_search(seed, horizon):
    bars, _, sector = made(120, seed)
    rows = np.arange(30, 120 - horizon, 4)
    found = triple_barrier(bars, rows, sector=of_closes(sector), horizon=horizon)
    assert list(zip(found.last, found.barrier, strict=True)) == [naive(bars, row, horizon) for row in rows]


def test_a_label_needs_nothing_from_after_its_end():
    bars, _, _ = made(120)
    rows, flat = np.arange(30, 100, 3), of_closes(np.full(120, 5.0))
    whole = triple_barrier(bars, rows, sector=flat)
    for i in range(len(rows)):
        later = np.arange(120) > whole.last[i]
        prices = (np.where(later, 1e3, getattr(bars, name)) for name in ("open", "high", "low", "close"))
        changed = triple_barrier(Bars(bars.day, *prices, bars.volume), rows[i : i + 1], sector=flat)
        assert (changed.ret[0], changed.last[0]) == (whole.ret[i], whole.last[i])
