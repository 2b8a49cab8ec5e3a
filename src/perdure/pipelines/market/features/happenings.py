"""Features of events: filings, insiders, earnings, news and the VIX, each as known at the session's cut-off.

Without events every feature has a neutral value: counts, scores, sizes and tones are 0, days since (and to) the next
are at their cap, and the VIX is at its long-run median.
"""

from __future__ import annotations

import numpy as np

from perdure.pipelines.market.data.bars import Bars
from perdure.pipelines.market.data.events import Announcements, Earnings, Events, Filings, InsiderTrades, News
from perdure.pipelines.market.features import calendar, kernels
from perdure.pipelines.market.features.kernels import lagged, ratio
from perdure.pipelines.market.features.returns import log_return

_HIGH_IMPACT = frozenset(["1.01", "1.02", "1.03", "2.05", "2.06", "3.01", "4.01", "4.02", "5.01", "5.02"])
_LATE_OR_AMENDED = ("NT 10-K", "NT 10-Q", "10-K/A", "10-Q/A")
_ONE_QUARTER = 45  # days; a second release sooner than that restates the first's quarter
_YEAR_APART = (320, 410)  # days between the same report of two years
_QUARTER, _MOST_SURPRISE, _LEAST_DIFFERENCES = 63, 10.0, 4
_USUAL_VIX = 17.6  # median of the closes of 1990-2024


def event_features(
    bars: Bars, *, sector: np.ndarray, events: Events, vix: np.ndarray, vix3m: np.ndarray | None
) -> dict[str, np.ndarray]:
    """All 23. sector: (n,) closes of the sector's fund. vix, vix3m: (n,) closes on the bars' days, NaN unknown."""
    return {
        **_filings(bars.day, events.filings),
        **_insiders(bars, events.insider_trades),
        **_earnings(bars, sector, events.earnings, events.announcements),
        **_news(bars.day, events.news),
        **_fear(vix, vix3m),
    }


def _filings(days: np.ndarray, filings: Filings) -> dict[str, np.ndarray]:
    rows, n = calendar.sessions(filings.available_at, days), len(days)
    current = filings.form == "8-K"
    serious = np.array([not _HIGH_IMPACT.isdisjoint(_items(text)) for text in filings.items], bool)
    late = np.isin(filings.form, _LATE_OR_AMENDED)
    of_8k = calendar.per_session(rows[current], n)
    return {
        "ev_8k_cnt_21": calendar.recent(of_8k, 21),
        "ev_8k_days": kernels.since(of_8k > 0, 90),
        "ev_8k_hi_63": calendar.recent(calendar.per_session(rows[current & serious], n), 63),
        "ev_10q_days": kernels.since(calendar.per_session(rows[filings.form == "10-Q"], n) > 0, 130),
        "ev_10k_days": kernels.since(calendar.per_session(rows[filings.form == "10-K"], n) > 0, 270),
        "ev_nt_amend_252": calendar.recent(calendar.per_session(rows[late], n), 252),
        "ev_len_chg": _length_change(rows, filings, n),
    }


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",")]


def _length_change(rows: np.ndarray, filings: Filings, n: int) -> np.ndarray:
    """ln of the latest report's size over that of the same form a year before; 0 where either is not known.

    Cohen, Malloy and Nguyen, Lazy Prices (2020): reports that change say something.
    """
    chosen = np.flatnonzero(np.isin(filings.form, ("10-K", "10-Q")))
    day = filings.available_at.astype("datetime64[D]").astype(np.int64)
    change = np.zeros(len(chosen))
    for place, i in enumerate(chosen):
        earlier = chosen[:place]
        age = day[i] - day[earlier]
        of_form = filings.form[earlier] == filings.form[i]
        fits = of_form & (age >= _YEAR_APART[0]) & (age <= _YEAR_APART[1])
        if fits.any():
            before = filings.size[earlier[fits][np.argmin(np.abs(age[fits] - 365))]]
            if filings.size[i] > 0 and before > 0:  # not so where either is NaN
                change[place] = np.log(filings.size[i] / before)
    return calendar.held(rows[chosen], change, n)


def _insiders(bars: Bars, trades: InsiderTrades) -> dict[str, np.ndarray]:
    """Form 4. Sales under a 10b5-1 plan were decided long before and are left out."""
    rows, n = calendar.sessions(trades.available_at, bars.day), len(bars)
    bought, sold = trades.code == "P", (trades.code == "S") & ~trades.planned
    net = calendar.per_session(
        rows, n, np.where(bought, trades.dollars, np.where(sold, -trades.dollars, 0.0))
    )
    turnover = kernels.mean(bars.close * bars.volume, 63)
    buyers = np.zeros(n)
    for insider in np.unique(trades.insider[bought]):
        own = calendar.per_session(rows[bought & (trades.insider == insider)], n)
        buyers += calendar.recent(own, 63) > 0
    return {
        "ins_net_63": ratio(calendar.recent(net, 63), turnover),
        "ins_buyers_63": buyers,
        "ins_sells_63": calendar.recent(calendar.per_session(rows[sold], n), 63),
        "ins_buy_days": kernels.since(calendar.per_session(rows[bought], n) > 0, 252),
    }


def _earnings(
    bars: Bars, sector: np.ndarray, earnings: Earnings, announcements: Announcements
) -> dict[str, np.ndarray]:
    """The reaction is the sector-adjusted return of the session that first knew of the release."""
    n = len(bars)
    rows = calendar.sessions(earnings.available_at, bars.day)
    first = _first_of_quarter(earnings.available_at)
    releases = rows[first]
    adjusted = np.nan_to_num(log_return(bars.close) - log_return(sector))
    inside = releases[(releases >= 0) & (releases < n)]
    reaction = calendar.held(inside, adjusted[inside], n)
    surprise_rows, surprises = _surprises(rows, earnings.eps, first)
    return {
        "earn_days_since": kernels.since(calendar.per_session(releases, n) > 0, 90),
        "earn_days_to": _days_to_release(bars.day, earnings.available_at[first], releases, announcements),
        "earn_react": reaction,
        "earn_sue": calendar.held(surprise_rows, surprises, n),
        "earn_move_ratio": ratio(np.abs(reaction), kernels.deviation(log_return(bars.close), 63)),
    }


def _first_of_quarter(available_at: np.ndarray) -> np.ndarray:
    """(k,) bool: releases that begin a quarter, rather than restate or complete one."""
    first = np.zeros(len(available_at), bool)
    latest = np.datetime64("0001-01-01")
    for i, moment in enumerate(available_at):
        if moment - latest > np.timedelta64(_ONE_QUARTER, "D"):
            first[i], latest = True, moment
    return first


def _surprises(rows: np.ndarray, eps: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and values of (EPS_q - EPS_q-4) / deviation of the last 8 such differences, cut at +-10.

    Of each quarter only the earnings first reported count, though they may come after the release itself. 0 until
    there are 4 differences, or where they do not vary.
    """
    quarter = np.cumsum(first) - 1
    reported: dict[int, float] = {}
    found_rows, found = [], []
    for i in np.flatnonzero(~np.isnan(eps)):
        if int(quarter[i]) in reported:
            continue
        reported[int(quarter[i])] = float(eps[i])
        found_rows.append(rows[i])
        found.append(_surprise(reported, int(quarter[i])))
    return np.array(found_rows, np.int64), np.array(found, np.float64)


def _surprise(reported: dict[int, float], quarter: int) -> float:
    recent = [q for q in reported if q - 4 in reported][-8:]
    differences = [reported[q] - reported[q - 4] for q in recent]
    if not recent or recent[-1] != quarter or len(recent) < _LEAST_DIFFERENCES:
        return 0.0
    spread = float(np.std(differences))
    if spread <= 1e-9 * (1 + abs(differences[-1])):
        return 0.0
    return float(np.clip(differences[-1] / spread, -_MOST_SURPRISE, _MOST_SURPRISE))


def _days_to_release(
    days: np.ndarray, available_at: np.ndarray, releases: np.ndarray, announcements: Announcements
) -> np.ndarray:
    """Weekdays to the next release, as announced by then; else by the last release and the median of 8 gaps, 0 to 63.

    Weekdays, because which of them will be holidays is not in the past's bars. The date on which a release really
    came is never looked at before it came. 63 where nothing is known.
    """
    n, told = len(days), calendar.sessions(announcements.available_at, days)
    dates = calendar.local_days(available_at)
    gaps = np.busday_count(dates[:-1], dates[1:]).astype(np.float64)
    usual = np.array([np.median(gaps[max(i - 8, 0) : i]) if i else _QUARTER for i in range(len(dates))])
    expected = np.busday_offset(dates, np.rint(usual).astype(np.int64), roll="forward")
    nothing = np.datetime64("9999-01-01")
    by_habit = _held_days(releases, expected, n, nothing)
    announced = _held_days(told, announcements.day, n, np.datetime64("0001-01-01"))
    released = _held_days(releases, dates, n, np.datetime64("0001-01-01"))
    pending = (announced >= days) & (announced > released)
    target = np.where(pending, announced, by_habit)
    return np.clip(np.busday_count(days, target), 0, _QUARTER).astype(np.float64)


def _held_days(rows: np.ndarray, values: np.ndarray, n: int, otherwise: np.datetime64) -> np.ndarray:
    numbers = values.astype("datetime64[D]").astype(np.float64)
    held = calendar.held(rows, numbers, n, float(otherwise.astype("datetime64[D]").astype(np.int64)))
    return held.astype(np.int64).astype("datetime64[D]")


def _news(days: np.ndarray, news: News) -> dict[str, np.ndarray]:
    """Tone is weighted by the number of articles; 0 where there were none."""
    rows, n = calendar.sessions(news.available_at, days), len(days)
    articles = calendar.per_session(rows, n, news.articles)
    tone = calendar.per_session(rows, n, news.articles * news.sentiment)
    level = np.log1p(articles)
    week = ratio(calendar.recent(tone, 5), calendar.recent(articles, 5))
    quarter = ratio(calendar.recent(tone, 63), calendar.recent(articles, 63))
    return {
        "news_cnt_z_5": ratio(kernels.mean(level, 5) - kernels.mean(level, 63), kernels.deviation(level, 63)),
        "news_sent_1": ratio(tone, articles),
        "news_sent_5": week,
        "news_sent_chg": week - quarter,
    }


def _fear(vix: np.ndarray, vix3m: np.ndarray | None) -> dict[str, np.ndarray]:
    level = np.log(np.where(np.isnan(vix), _USUAL_VIX, vix))
    term = level - kernels.mean(level, _QUARTER)
    if vix3m is not None:
        both = ~(np.isnan(vix) | np.isnan(vix3m))
        term = np.where(both, level - np.log(np.where(both, vix3m, 1.0)), term)
    return {"vix_log": level, "vix_chg_5": level - lagged(level, 5), "vix_term": term}
