"""An event counts from the session that could know it, and as it was first told."""

import math
from dataclasses import replace

import numpy as np
import pytest

from market_bars import made, weekdays
from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.data.events import Announcements, Earnings, Events, Filings, InsiderTrades, News
from perdure.pipelines.market.features import calendar
from perdure.pipelines.market.features.happenings import event_features

DAYS = weekdays(300, "2024-01-02")
NONE = Events.none()


def at(*texts):
    return np.array(texts, "datetime64[s]")


def features(events=NONE, days=DAYS, vix=None, vix3m=None):
    made_bars, _, sector = made(len(days))
    bars = Bars(days, *(getattr(made_bars, name) for name in ("open", "high", "low", "close", "volume")))
    vix = np.full(len(days), np.nan) if vix is None else vix
    return event_features(bars, sector=sector, events=events, vix=vix, vix3m=vix3m)


def filings(*rows):
    moments, forms, items, sizes = zip(*rows, strict=True)
    return replace(
        NONE, filings=Filings(at(*moments), np.array(forms), np.array(items), np.array(sizes, float))
    )


def trades(*rows):
    moments, codes, dollars, insiders, planned = zip(*rows, strict=True)
    table = InsiderTrades(
        at(*moments), np.array(codes), np.array(dollars, float), np.array(insiders), np.array(planned, bool)
    )
    return replace(NONE, insider_trades=table)


def earnings(days, eps=None, hour=12):
    moments = np.asarray(days).astype("datetime64[s]") + np.timedelta64(hour, "h")
    return Earnings(moments, np.full(len(moments), np.nan) if eps is None else np.array(eps, float))


def row(day):
    return int(np.flatnonzero(np.datetime64(day) == DAYS)[0])


@pytest.mark.parametrize(
    ("moment", "session"),
    [
        ("2024-01-10T20:45:00", "2024-01-10"),  # 15:45 in winter, the last second that counts
        ("2024-01-10T20:45:01", "2024-01-11"),
        ("2024-07-10T19:45:00", "2024-07-10"),  # 15:45 in summer
        ("2024-07-10T19:45:01", "2024-07-11"),
        ("2024-03-08T20:45:00", "2024-03-08"),  # the Friday before the clocks change
        ("2024-03-11T20:44:00", "2024-03-12"),  # the Monday after it
        ("2024-01-12T23:00:00", "2024-01-15"),  # over a weekend
        ("2024-01-13T12:00:00", "2024-01-15"),
    ],
)
def test_an_event_counts_from_the_session_that_knew_it_a_quarter_of_an_hour_before_its_close(moment, session):
    found = features(filings((moment, "8-K", "2.02", np.nan)))["ev_8k_days"]
    assert found[row(session)] == 0
    assert found[row(session) - 1] == 90


def test_an_event_of_a_missing_session_counts_for_the_next_bar_there_is():
    there = np.delete(DAYS, slice(20, 25))
    found = features(filings((f"{DAYS[22]}T15:00:00", "8-K", "", np.nan)), days=there)["ev_8k_days"]
    assert (found[19], found[20], found[21]) == (90, 0, 1)


def test_what_was_public_long_before_the_first_bar_is_not_new_on_it():
    found = features(filings(("2020-05-05T12:00:00", "8-K", "", np.nan)))
    assert found["ev_8k_days"][0] == 90
    assert found["ev_8k_cnt_21"].max() == 0


def test_without_events_all_features_are_neutral_and_finite():
    found = features()
    last = {name: value[-1] for name, value in found.items()}
    caps = {
        "ev_8k_days": 90, "ev_10q_days": 130, "ev_10k_days": 270, "ins_buy_days": 252, "earn_days_since": 90,
        "earn_days_to": 63, "vix_log": math.log(17.6),
    }  # fmt: skip
    assert last == pytest.approx({name: caps.get(name, 0.0) for name in last})
    assert all(np.isfinite(value[273:]).all() for value in found.values())


def test_8ks_are_counted_in_their_window_and_serious_ones_apart():
    day = row("2024-03-05")
    found = features(
        filings(
            ("2024-03-05T15:00:00", "8-K", "2.02,9.01", np.nan), ("2024-03-05T16:00:00", "8-K", "9.01, 4.02", np.nan),
            ("2024-03-05T16:30:00", "8-K/A", "4.02", np.nan),
        )
    )  # fmt: skip
    assert found["ev_8k_cnt_21"][[day - 1, day, day + 20, day + 21]].tolist() == [0, 2, 2, 0]
    assert found["ev_8k_hi_63"][[day - 1, day, day + 62, day + 63]].tolist() == [0, 1, 1, 0]


def test_late_and_amended_reports_are_counted_for_a_year():
    kinds = ("NT 10-K", "10-Q/A", "10-Q", "10-K", "8-K/A")
    found = features(
        filings(*((f"2024-02-0{i + 5}T15:00:00", kind, "", np.nan) for i, kind in enumerate(kinds)))
    )
    assert found["ev_nt_amend_252"][row("2024-02-05") - 1 :][[0, 1, 2, 5]].tolist() == [0, 1, 2, 2]
    assert found["ev_nt_amend_252"][row("2024-02-05") + 252] == 1
    assert (found["ev_10q_days"][row("2024-02-07")], found["ev_10k_days"][row("2024-02-08")]) == (0, 0)


def test_a_report_is_compared_with_the_same_form_of_a_year_before():
    found = features(
        filings(
            ("2023-02-20T15:00:00", "10-K", "", 1000), ("2023-05-01T15:00:00", "10-Q", "", 400),
            ("2023-11-01T15:00:00", "10-Q", "", 500), ("2024-02-20T15:00:00", "10-K", "", 1500),
            ("2024-05-02T15:00:00", "10-Q", "", 440), ("2024-08-02T15:00:00", "10-Q", "", 700),
        )
    )["ev_len_chg"]  # fmt: skip
    assert found[row("2024-02-19")] == 0
    assert found[row("2024-02-20")] == pytest.approx(math.log(1.5))
    assert found[row("2024-05-02")] == pytest.approx(math.log(1.1))
    assert found[row("2024-08-02")] == 0  # no 10-Q of August 2023 is known


def test_planned_sales_do_not_count_and_buyers_are_counted_once():
    day = row("2024-06-05")
    found = features(
        trades(
            ("2024-06-05T15:00:00", "P", 1e6, "ann", False), ("2024-06-05T15:10:00", "P", 1e6, "ann", False),
            ("2024-06-05T15:20:00", "P", 1e6, "bob", False), ("2024-06-05T15:30:00", "S", 5e5, "eve", False),
            ("2024-06-05T15:40:00", "S", 9e9, "eve", True),
        )
    )  # fmt: skip
    bars, _, _ = made(300)
    turnover = (bars.close * bars.volume)[day - 62 : day + 1].mean()
    assert found["ins_buyers_63"][[day - 1, day, day + 62, day + 63]].tolist() == [0, 2, 2, 0]
    assert found["ins_sells_63"][day] == 1
    assert found["ins_net_63"][day] == pytest.approx(2.5e6 / turnover)
    assert found["ins_buy_days"][[day, day + 3]].tolist() == [0, 3]


def test_the_reaction_is_that_of_the_session_that_first_knew_beside_its_sector():
    bars, _, sector = made(300)
    own, beside = np.diff(np.log(bars.close)), np.diff(np.log(sector))
    moments = at(f"{DAYS[100]}T12:00:00", f"{DAYS[170]}T22:00:00")
    found = features(replace(NONE, earnings=Earnings(moments, np.array([1.0, 1.1]))))
    assert found["earn_react"][99] == 0
    assert found["earn_react"][100] == pytest.approx(own[99] - beside[99])
    assert found["earn_react"][170] == found["earn_react"][100]
    assert found["earn_react"][171] == pytest.approx(own[170] - beside[170])
    assert found["earn_days_since"][[100, 103, 171]].tolist() == [0, 3, 0]
    assert found["earn_move_ratio"][171] == pytest.approx(abs(own[170] - beside[170]) / np.std(own[108:171]))


QUARTERS = np.datetime64("2021-06-01") + 91 * np.arange(14)
EPS = [1.0, 1.1, 1.2, 1.3, 1.5, 1.4, 1.8, 1.5, 1.9, 2.0, 2.1, 2.2, 2.9, 2.4]


def test_the_surprise_is_the_yearly_change_over_its_own_spread():
    found = features(replace(NONE, earnings=earnings(QUARTERS, EPS)))["earn_sue"]
    known = np.flatnonzero(DAYS[200] >= QUARTERS)[-1]
    differences = [EPS[q] - EPS[q - 4] for q in range(4, known + 1)][-8:]
    assert found[200] == pytest.approx(differences[-1] / np.std(differences))


def test_of_a_quarter_only_the_earnings_first_reported_count():
    first = features(replace(NONE, earnings=earnings(QUARTERS, EPS)))
    again = np.sort(np.concatenate([QUARTERS, QUARTERS + 20]))
    restated = np.ravel(np.column_stack([EPS, np.full(14, 99.0)]))
    second = features(replace(NONE, earnings=earnings(again, restated)))
    for name in ("earn_sue", "earn_react", "earn_days_since", "earn_days_to"):
        np.testing.assert_array_equal(first[name], second[name])


def test_earnings_that_come_after_their_release_count_from_when_they_came():
    again = np.sort(np.concatenate([QUARTERS, QUARTERS + 9]))
    late = np.ravel(np.column_stack([np.full(14, np.nan), EPS]))
    prompt = features(replace(NONE, earnings=earnings(QUARTERS, EPS)))["earn_sue"]
    found = features(replace(NONE, earnings=earnings(again, late)))["earn_sue"]
    release = np.flatnonzero(np.diff(prompt))[0] + 1
    assert found[release] == prompt[release - 1]
    assert found[release + 7] == prompt[release]


def test_the_next_release_is_as_announced_and_else_by_habit():
    past = np.array(["2023-07-31", "2023-10-30", "2024-01-29"], "datetime64[D]")
    told = Announcements(at("2024-04-10T12:00:00"), np.array(["2024-05-06"], "datetime64[D]"))
    habit = features(replace(NONE, earnings=earnings(past)))["earn_days_to"]
    found = features(replace(NONE, earnings=earnings(past), announcements=told))["earn_days_to"]
    before, after = row("2024-04-09"), row("2024-04-10")
    assert found[before] == habit[before] == np.busday_count("2024-04-09", "2024-04-29")
    assert found[after] == np.busday_count("2024-04-10", "2024-05-06")
    assert found[row("2024-05-06")] == 0


def test_the_real_date_of_the_next_release_is_never_looked_at():
    past = np.array(["2023-10-30", "2024-01-29"], "datetime64[D]")
    early, late = (np.append(past, np.datetime64(day)) for day in ("2024-04-22", "2024-05-20"))
    one, other = (features(replace(NONE, earnings=earnings(days)))["earn_days_to"] for days in (early, late))
    until = row("2024-04-22")
    np.testing.assert_array_equal(one[:until], other[:until])
    assert one[until] != other[until]


def test_news_are_weighted_by_articles_and_zero_where_there_are_none():
    news = News(at("2024-06-05T12:00:00", "2024-06-05T13:00:00"), np.array([1.0, 3.0]), np.array([1.0, -1.0]))
    found, day = features(replace(NONE, news=news)), row("2024-06-05")
    assert found["news_sent_1"][[day - 1, day, day + 1]].tolist() == [0, -0.5, 0]
    assert found["news_sent_5"][[day + 4, day + 5]].tolist() == [-0.5, 0]
    assert found["news_sent_chg"][[day, day + 5]].tolist() == [0, 0.5]
    level = np.zeros(63)
    level[-1] = math.log(5)
    assert found["news_cnt_z_5"][day] == pytest.approx((math.log(5) / 5 - level.mean()) / level.std())


def test_the_vix_term_is_against_three_months_and_else_against_its_own_mean():
    vix, vix3m = np.linspace(10, 30, 300), np.full(300, 20.0)
    vix3m[:100] = np.nan
    found = features(vix=vix, vix3m=vix3m)
    assert found["vix_term"][200] == pytest.approx(math.log(vix[200] / 20))
    assert found["vix_term"][80] == pytest.approx(math.log(vix[80]) - np.log(vix[18:81]).mean())
    assert found["vix_chg_5"][200] == pytest.approx(math.log(vix[200] / vix[195]))


def test_several_events_of_one_session_leave_the_last_ones_value():
    rows = np.array([2, 2, 4])
    assert calendar.held(rows, np.array([1.0, 5.0, 7.0]), 6, -1.0).tolist() == [-1, -1, 5, 5, 7, 7]
