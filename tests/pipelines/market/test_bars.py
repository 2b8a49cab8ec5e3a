"""Prices as traded become returns that people earned, and the past never changes when the future arrives."""

from __future__ import annotations

import numpy as np
import pytest

from perdure.pipelines.market.data.bars import Bars, Prices, Series, adjusted


def days(count: int, first: str = "2024-01-01") -> np.ndarray:
    return np.datetime64(first) + np.arange(count)


def bars(close, volume=None) -> Bars:
    close = np.array(close, float)
    volume = np.full(len(close), 100.0) if volume is None else np.array(volume, float)
    return Bars(days(len(close)), close, close * 1.01, close * 0.99, close, volume)


def actions(given: Bars, *, splits=(), dividends=()) -> Prices:
    return Prices(
        given,
        np.array([given.day[row] for row, _ in splits], "datetime64[D]"),
        np.array([ratio for _, ratio in splits], float),
        np.array([given.day[row] for row, _ in dividends], "datetime64[D]"),
        np.array([paid for _, paid in dividends], float),
    )


def random_prices(seed: int = 3, count: int = 300) -> Prices:
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(0.02 * rng.standard_normal(count)))
    return actions(
        bars(close, rng.integers(1, 1000, count)),
        splits=[(40, 4.0), (200, 0.1)],
        dividends=[(row, 0.3) for row in range(20, count, 63)],
    )


def test_a_split_changes_no_return():
    whole = np.array([100.0, 102, 101, 105, 110])
    traded = whole / np.array([1, 1, 4, 4, 4])
    out = adjusted(actions(bars(traded, [10, 10, 40, 40, 40]), splits=[(2, 4.0)]))
    assert np.diff(np.log(out.close)) == pytest.approx(np.diff(np.log(whole)))
    assert out.volume.tolist() == [10.0] * 5


def test_a_dividend_counts_as_reinvested_at_the_close_before():
    out = adjusted(actions(bars([100.0, 99.0, 99.0]), dividends=[(1, 1.0)]))
    assert out.close[1] / out.close[0] == pytest.approx(1.0)
    assert out.close[2] == out.close[1]


def test_the_first_prices_are_those_that_people_saw():
    prices = random_prices()
    assert adjusted(prices).close[0] == prices.bars.close[0]


@pytest.mark.parametrize("row", [10, 40, 41, 83, 199, 200, 298])
def test_cutting_off_the_future_changes_no_bit_of_the_past(row):
    prices = random_prices()
    day = prices.bars.day[row]
    early, late = adjusted(prices.until(day)), adjusted(prices).until(day)
    for name in ("day", "open", "high", "low", "close", "volume"):
        assert getattr(early, name).tobytes() == getattr(late, name).tobytes()


def test_actions_after_a_day_are_not_known_on_it():
    prices = random_prices()
    early = prices.until(prices.bars.day[100])
    assert len(early.bars) == 101
    assert early.split_ratio.tolist() == [4.0]
    assert early.dividend_day.max() <= prices.bars.day[100]


def test_an_index_gives_the_latest_value_known_and_none_before_the_first():
    series = Series(days(2, "2024-01-05"), np.array([15.0, 16.0]))
    asked = np.array(["2024-01-04", "2024-01-05", "2024-01-09"], "datetime64[D]")
    assert series.on(asked).tolist()[1:] == [15.0, 16.0]
    assert np.isnan(series.on(asked)[0])
