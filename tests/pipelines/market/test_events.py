"""A moment on New York's clocks is found in UTC, and nothing is known before it was available."""

from __future__ import annotations

import datetime as dt
import zoneinfo

import numpy as np

from perdure.pipelines.market.data.events import Events, News, utc


def test_new_york_time_is_that_of_the_time_zone_database_from_1988_to_2030():
    local = np.arange(
        np.datetime64("1988-01-01T03:30:00"), np.datetime64("2030-01-01"), np.timedelta64(8, "h")
    )
    zone = zoneinfo.ZoneInfo("America/New_York")
    expected = [
        moment.replace(tzinfo=zone).astimezone(dt.UTC).replace(tzinfo=None) for moment in local.astype(object)
    ]
    assert utc(local).astype(object).tolist() == expected


def test_an_event_is_unknown_until_it_is_available():
    news = News(
        np.array(["2024-01-02T21:00:00", "2024-01-03T21:00:00"], "datetime64[s]"), np.ones(2), np.zeros(2)
    )
    assert len(news.until(np.datetime64("2024-01-02T20:59:59"))) == 0
    assert len(news.until(np.datetime64("2024-01-02T21:00:00"))) == 1
    assert len(news.since(np.datetime64("2024-01-02T21:00:01"))) == 1


def test_a_source_without_events_gives_empty_columns_of_the_right_kinds():
    none = Events.none()
    assert len(none.filings) == 0
    assert none.filings.available_at.dtype == np.dtype("datetime64[s]")
    assert none.insider_trades.planned.dtype == np.dtype(bool)
    assert none.announcements.day.dtype == np.dtype("datetime64[D]")
