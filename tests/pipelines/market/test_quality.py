"""Rows that cannot be are dropped or mended, what is odd is told, and a clean series passes untouched."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from perdure.pipelines.market.data.bars import Bars, Finding, Prices, adjusted
from perdure.pipelines.market.data.quality import UnusableError, check

COUNT = 320


def clean() -> Bars:
    rng = np.random.default_rng(0)
    day = np.busday_offset("2022-01-03", np.arange(COUNT))
    close = 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(COUNT)))
    opened = close * np.exp(0.002 * rng.standard_normal(COUNT))
    high, low = np.maximum(opened, close) * 1.01, np.minimum(opened, close) * 0.99
    return Bars(day, opened, high, low, close, rng.integers(1000, 2000, COUNT).astype(float))


def spoilt(name: str, row: int, value: float) -> Bars:
    column = getattr(clean(), name).copy()
    column[row] = value
    return replace(clean(), **{name: column})


def found_in(bars: Bars, **options) -> tuple[Prices, tuple[Finding, ...]]:
    return check(Prices.plain(bars), **options)


def test_clean_prices_pass_without_a_finding_and_keep_their_bits():
    kept, found = found_in(clean())
    assert found == ()
    for name in ("day", "open", "high", "low", "close", "volume"):
        assert getattr(kept.bars, name).tobytes() == getattr(clean(), name).tobytes()


@pytest.mark.parametrize("value", [0.0, -5.0, np.nan, np.inf])
def test_a_bar_without_a_real_close_is_dropped(value):
    bars = spoilt("close", 50, value)
    kept, found = found_in(bars)
    assert len(kept.bars) == COUNT - 1
    assert bars.day[50] not in kept.bars.day
    assert found == (Finding(str(bars.day[50]), "the close is zero, negative or missing", "dropped"),)


@pytest.mark.parametrize("name", ["open", "high", "low"])
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_missing_open_high_or_low_is_mended_from_the_rest(name, value):
    kept, found = found_in(spoilt(name, 50, value))
    bars = kept.bars
    assert len(bars) == COUNT
    assert (
        bars.low[50]
        <= min(bars.open[50], bars.close[50])
        <= max(bars.open[50], bars.close[50])
        <= bars.high[50]
    )
    assert [row.done for row in found] == ["mended"]


def test_a_high_below_the_close_is_raised_to_it():
    kept, found = found_in(spoilt("high", 50, 1.0))
    assert kept.bars.high[50] == max(clean().open[50], clean().close[50])
    assert "the high is not the highest" in found[0].what and found[0].done == "mended"


def test_of_a_day_that_is_there_twice_the_first_row_stays():
    rows = np.insert(np.arange(COUNT), 11, 10)
    bars = clean().take(rows)
    bars.close[11] *= 1.001
    kept, found = found_in(bars)
    assert len(kept.bars) == COUNT and kept.bars.close[10] == clean().close[10]
    assert found == (Finding(str(clean().day[10]), "the day is there twice", "dropped"),)


def test_days_out_of_order_are_sorted():
    rows = np.arange(COUNT)
    rows[[100, 101]] = rows[[101, 100]]
    kept, found = found_in(clean().take(rows))
    assert kept.bars.close.tobytes() == clean().close.tobytes()
    assert [row.done for row in found] == ["mended"]


def test_a_missing_volume_counts_as_none():
    kept, found = found_in(spoilt("volume", 5, np.nan))
    assert kept.bars.volume[5] == 0 and found[0].done == "mended"


@pytest.mark.parametrize("ratio", [2.0, 4.0, 10.0, 0.1])
def test_an_unrecorded_split_is_recorded_and_changes_no_return(ratio):
    bars = clean()
    since = np.where(np.arange(COUNT) >= 100, 1 / ratio, 1.0)
    prices = {name: getattr(bars, name) * since for name in ("open", "high", "low", "close")}
    kept, found = found_in(replace(bars, **prices))
    assert kept.split_day.tolist() == [bars.day[100].astype(object)]
    assert kept.split_ratio == pytest.approx([ratio])
    assert np.log(adjusted(kept).close) == pytest.approx(np.log(bars.close), abs=1e-9)
    assert "unrecorded split" in found[0].what


def test_a_recorded_split_is_no_finding():
    bars = clean()
    since = np.where(np.arange(COUNT) >= 100, 0.5, 1.0)
    bars = replace(bars, **{name: getattr(bars, name) * since for name in ("open", "high", "low", "close")})
    given = replace(Prices.plain(bars), split_day=bars.day[100:101], split_ratio=np.array([2.0]))
    kept, found = check(given)
    assert found == () and kept.split_ratio.tolist() == [2.0]


def test_a_crash_is_kept_and_told():
    fall = np.where(np.arange(COUNT) >= 100, 0.43, 1.0)
    bars = replace(
        clean(), **{name: getattr(clean(), name) * fall for name in ("open", "high", "low", "close")}
    )
    kept, found = found_in(bars)
    assert len(kept.split_day) == 0 and kept.bars.close.tobytes() == bars.close.tobytes()
    assert [(row.day, row.done) for row in found] == [(str(bars.day[100]), "kept")]


def test_gaps_and_missing_days_are_told():
    rows = np.delete(np.arange(COUNT), np.r_[50, 100:110])
    kept, found = found_in(clean().take(rows), days=clean().day)
    assert len(kept.bars) == COUNT - 11
    assert sum("no bar" in row.what and "market" in row.what for row in found) == 11
    assert sum("no bars for the" in row.what for row in found) == 1


def test_prices_that_stand_still_are_told():
    rows = np.arange(COUNT)
    rows[60:66] = 60
    bars = clean().take(rows)
    _, found = found_in(replace(bars, day=clean().day))
    assert [(row.day, row.what) for row in found] == [
        (str(clean().day[60]), "the same prices for 6 sessions")
    ]


def test_too_few_bars_are_refused_with_their_number():
    with pytest.raises(UnusableError, match="only 100 of 100 bars"):
        found_in(clean().take(slice(0, 100)))
    assert len(found_in(clean().take(slice(0, 100)), fewest=100)[0].bars) == 100


def test_a_series_of_which_a_third_is_rubbish_is_refused():
    bars = clean()
    bars.close[::3] = 0
    with pytest.raises(UnusableError, match="of 320 bars"):
        found_in(bars, fewest=100)
    error = UnusableError("x")
    assert str(pickle.loads(pickle.dumps(error))) == "x"


def test_what_the_source_found_comes_first():
    _, found = check(Prices.plain(spoilt("high", 50, 1.0), Finding("", "there is no volume", "mended")))
    assert found[0].what == "there is no volume" and len(found) == 2


def test_an_empty_source_is_refused():
    with pytest.raises(UnusableError, match="only 0 of 0"):
        found_in(clean().take(slice(0, 0)))


def test_more_days_change_nothing_of_the_clean_past():
    bars = clean()
    bars.close[40], bars.high[70] = 0, 1.0
    for name in ("open", "high", "low", "close"):
        getattr(bars, name)[150:] /= 4
    late = adjusted(found_in(bars, fewest=100)[0])
    for row in (149, 150, 200):
        early = adjusted(found_in(bars.take(slice(0, row + 1)), fewest=100)[0])
        assert early.close.tobytes() == late.until(bars.day[row]).close.tobytes()
