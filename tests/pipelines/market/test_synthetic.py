"""The made market is the same everywhere, hides a signal of known strength, and is as dirty as a real one."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import numpy as np
import pytest

from perdure.errors import UsageError
from perdure.pipelines.market.data import quality
from perdure.pipelines.market.data.bars import Bars, adjusted
from perdure.pipelines.market.data.events import utc
from perdure.pipelines.market.data.provider import NoSuchSymbolError
from perdure.pipelines.market.data.symbols import companies, company, funds
from perdure.pipelines.market.synthetic import dirt
from perdure.pipelines.market.synthetic.calendar import LAST_DAY, sessions
from perdure.pipelines.market.synthetic.provider import SyntheticProvider

TABLES = ("filings", "insider_trades", "earnings", "announcements", "news")
SMALL = 400


def bits(bars: Bars) -> bytes:
    return b"".join(
        np.ascontiguousarray(getattr(bars, name)).tobytes()
        for name in ("day", "open", "high", "low", "close", "volume")
    )


@lru_cache
def forecasts(kappa: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(symbols, days): the log return beside the sector's fund over 10 sessions, the oracle, and the past 10."""
    market = SyntheticProvider(kappa=kappa, seed=seed, dirt=False)
    ahead, score, past = [], [], []
    for row in companies():
        beside = np.log(market.prices(row.symbol).bars.close / market.prices(row.sector_etf).bars.close)
        ahead.append((beside[20:] - beside[10:-10])[::3])
        past.append((beside[10:-10] - beside[:-20])[::3])
        score.append(market.oracle(row.symbol).value[10:-10][::3])
    return np.array(ahead), np.array(score), np.array(past)


def auc(truth: np.ndarray, score: np.ndarray) -> float:
    order = score.ravel().argsort(kind="stable").argsort() + 1.0
    good = truth.ravel()
    return (order[good].sum() - good.sum() * (good.sum() + 1) / 2) / (good.sum() * (~good).sum())


def test_sessions_are_working_days_that_end_on_a_fixed_day():
    days = sessions(2520)
    assert len(days) == 2520 and days[-1] == LAST_DAY
    assert np.is_busday(days).all() and (np.diff(days).astype(int) > 0).all()
    closed = [
        "2025-12-25",
        "2025-07-04",
        "2025-11-27",
        "2025-01-20",
        "2022-06-20",
        "2021-12-24",
        "2024-05-27",
    ]
    assert not np.isin(np.array(closed, "datetime64[D]"), days).any()
    assert np.datetime64("2021-06-18") in days  # before Juneteenth was a holiday
    assert sessions(2520, beyond=3)[-4:].tolist() == [
        LAST_DAY.astype(object), dt.date(2026, 1, 2), dt.date(2026, 1, 5), dt.date(2026, 1, 6)
    ]  # fmt: skip


def test_the_same_settings_make_the_same_bits_and_another_seed_another_market():
    from perdure.pipelines.market.synthetic import factors, provider

    first = bits(SyntheticProvider(sessions=SMALL).prices("AAPL").bars)
    for made in (provider._path, provider._stock, factors.factors, factors.sector):
        made.cache_clear()
    assert bits(SyntheticProvider(sessions=SMALL).prices("AAPL").bars) == first
    assert bits(SyntheticProvider(sessions=SMALL, seed=8).prices("AAPL").bars) != first


def test_a_market_of_fewer_symbols_has_the_same_prices_and_events():
    whole, part = SyntheticProvider(sessions=SMALL), SyntheticProvider(symbols=("JPM",), sessions=SMALL)
    for symbol in ("JPM", "SPY", "XLF"):
        assert bits(part.prices(symbol).bars) == bits(whole.prices(symbol).bars)
    assert part.events("JPM").news.articles.tobytes() == whole.events("JPM").news.articles.tobytes()
    with pytest.raises(NoSuchSymbolError, match="AAPL"):
        part.prices("AAPL")


def test_bars_are_possible_and_funds_trade_too():
    market = SyntheticProvider(sessions=SMALL, dirt=False)
    for symbol in (*funds(), "AAPL", "DUK"):
        bars = market.prices(symbol).bars
        assert len(bars) == SMALL
        assert (bars.low > 0).all() and (bars.volume >= 0).all()
        assert (bars.high >= np.maximum(bars.open, bars.close)).all()
        assert (bars.low <= np.minimum(bars.open, bars.close)).all()


def test_the_market_looks_like_one():
    market = SyntheticProvider()
    move = np.diff(np.log(market.prices("SPY").bars.close))
    calm, vix = np.abs(move), market.index("VIX").value
    assert 0.10 < move.std() * 252**0.5 < 0.30
    assert ((move - move.mean()) ** 4).mean() / move.var() ** 2 > 5  # fat tails
    assert np.corrcoef(calm[1:], calm[:-1])[0, 1] > 0.15  # storms last
    assert np.corrcoef(move, np.diff(np.log(vix)))[0, 1] < -0.15  # falls frighten
    assert 10 < np.median(vix) < 30
    assert np.std(np.log(market.index("VIX3M").value)) < np.std(np.log(vix))
    assert market.index("SKEW") is None


def test_without_a_signal_nothing_forecasts_the_return_beside_the_sector():
    ahead, score, past = forecasts(0.0, 1)
    assert not score.any()
    assert auc(ahead > 0, past) == pytest.approx(0.5, abs=0.015)
    assert np.mean(ahead > 0) == pytest.approx(0.5, abs=0.015)
    half = ahead.shape[1] // 2  # what a symbol did in one half says nothing about the other
    first, second = (ahead[:, :half] > 0).mean(axis=1), (ahead[:, half:] > 0).mean(axis=1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.3


@pytest.mark.parametrize(("kappa", "low", "high"), [(0.06, 0.57, 0.62), (0.12, 0.66, 0.71)])
def test_the_oracle_forecasts_as_well_as_the_signal_is_strong(kappa, low, high):
    ahead, score, _ = forecasts(kappa, 1)
    assert low < auc(ahead > 0, score) < high


def test_the_oracle_knows_only_what_was_public_at_the_close():
    """A new surprise moves the oracle on the session at whose close it counts, and not a session earlier."""
    market = SyntheticProvider(dirt=False, kappa=0.5)
    days = sessions(2520)
    released = market.events("AAPL").earnings.available_at[12:]
    row = np.searchsorted(utc(days.astype("datetime64[s]") + np.timedelta64(15 * 60 + 45, "m")), released)
    oracle = market.oracle("AAPL").value
    step = np.abs(np.diff(oracle, prepend=oracle[0]))
    assert np.median(step[row]) > 3 * np.median(step)
    assert np.median(step[row - 1]) < 1.5 * np.median(step)


def test_what_moves_a_session_was_public_before_its_open():
    market = SyntheticProvider(dirt=False)
    days = sessions(2520)
    opens = utc(days.astype("datetime64[s]") + np.timedelta64(9 * 60 + 30, "m"))
    closes = utc(days.astype("datetime64[s]") + np.timedelta64(16 * 60, "m"))
    bars, known = market.prices("MSFT").bars, market.events("MSFT").earnings.available_at[12:]
    row = np.searchsorted(opens, known)
    assert (known < opens[row]).all() and (known > closes[row - 1]).all()
    night = np.abs(np.log(bars.open[1:] / bars.close[:-1]))
    assert np.median(night[row - 1]) > 1.5 * np.median(night)


def test_surprises_can_be_read_from_the_earnings_and_move_the_price():
    market = SyntheticProvider(dirt=False)
    moved, surprised = [], []
    opens = utc(sessions(2520).astype("datetime64[s]") + np.timedelta64(9 * 60 + 30, "m"))
    for row in companies()[:12]:
        earnings, close = market.events(row.symbol).earnings, market.prices(row.symbol).bars.close
        change = earnings.eps[4:] - earnings.eps[:-4]
        for k in range(8, len(change)):
            session = np.searchsorted(opens, earnings.available_at[k + 4])
            surprised.append(change[k] / change[k - 8 : k].std())
            moved.append(np.log(close[session] / close[session - 1]))
    assert len(moved) == 12 * 40
    assert np.std(surprised) == pytest.approx(1.1, abs=0.35)
    assert np.corrcoef(np.argsort(np.argsort(moved)), np.argsort(np.argsort(surprised)))[0, 1] > 0.3


def test_events_of_every_kind_come_in_order_and_a_coming_release_is_announced():
    events = SyntheticProvider().events("NVDA")
    for name in TABLES:
        moments = getattr(events, name).available_at
        assert len(moments) and (np.diff(moments).astype(int) >= 0).all()
    assert {"8-K", "10-Q", "10-K"} <= set(events.filings.form.tolist())
    assert set(events.insider_trades.code.tolist()) == {"P", "S"}
    assert events.insider_trades.planned.any() and not events.insider_trades.planned.all()
    announced = events.announcements
    assert (announced.day.astype("datetime64[s]") > announced.available_at).all()
    assert np.abs(events.news.sentiment).max() <= 1


def test_dirt_changes_the_prices_as_traded_and_no_return():
    clean, dirty = SyntheticProvider(dirt=False), SyntheticProvider()
    with_actions = 0
    for row in companies()[9:25]:
        given = dirty.prices(row.symbol)
        kept, found = quality.check(given)
        broken = {found_.day for found_ in found}
        bars, whole = adjusted(kept), clean.prices(row.symbol).bars
        same = np.isin(whole.day, bars.day)
        here = np.diff(np.log(bars.close))
        assert here == pytest.approx(np.diff(np.log(whole.close[same])), abs=1e-6), row.symbol
        assert len(broken) <= 6
        with_actions += len(given.split_day) > 0 and len(given.dividend_day) > 0
    assert with_actions >= 2


def test_the_default_market_has_every_kind_of_dirt_in_a_few_symbols():
    market = SyntheticProvider()
    prices = {row.symbol: market.prices(row.symbol) for row in companies()}
    spoilt = {
        "zero price": {s for s, p in prices.items() if (p.bars.close == 0).any()},
        "date twice": {s for s, p in prices.items() if (np.diff(p.bars.day).astype(int) == 0).any()},
        "high below close": {s for s, p in prices.items() if (p.bars.high < p.bars.close).any()},
    }
    assert all(1 <= len(found) <= 20 for found in spoilt.values())
    assert sum(len(p.split_day) > 0 for p in prices.values()) > 20
    assert sum(len(p.dividend_day) > 0 for p in prices.values()) > 20
    late = {s for s, p in prices.items() if p.bars.day[0] > sessions(2520)[10]}
    assert late == set(dirt.LISTED_LATE)
    assert min(map(len, (p.bars for p in prices.values()))) < 273 + 10 + 3 * 200  # too young for 200 samples


def test_nothing_but_earnings_is_known_of_a_company_before_it_is_listed():
    market = SyntheticProvider()
    first = market.prices("SNOW").bars.day[0].astype("datetime64[s]")
    events = market.events("SNOW")
    assert all(getattr(events, name).available_at[0] >= first for name in TABLES if name != "earnings")
    assert events.earnings.available_at[0] < first


def test_settings_that_make_no_market_are_refused():
    for wrong in ({"sessions": 20}, {"kappa": -1.0}, {"symbols": ("NOPE",)}, {"seed": -1}):
        with pytest.raises(UsageError):
            SyntheticProvider(**wrong)


def test_the_table_of_symbols_has_82_companies_in_11_sectors():
    assert len({row.symbol for row in companies()}) == 82
    assert len({row.sector for row in companies()}) == len(funds()) - 1 == 11
    assert company("AAPL").sector_etf == "XLK"
    assert company("NOPE").sector_etf == "SPY"
