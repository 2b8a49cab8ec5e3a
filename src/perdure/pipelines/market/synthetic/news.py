"""What became public about a made company, each with a plausible moment.

What moves session t came out in the evening before it or in its early morning, so that it counts for session t; the
articles about session t come during it.
"""

from __future__ import annotations

import numpy as np

from perdure.pipelines.market.data.events import (
    Announcements,
    Earnings,
    Events,
    Filings,
    InsiderTrades,
    News,
    utc,
)
from perdure.pipelines.market.synthetic.paths import QUARTER, Path

_ITEMS = np.array(["5.02", "7.01,9.01", "8.01", "1.01,9.01"])
BEYOND = QUARTER + 1  # sessions after the last one that `day` needs: a coming release lies there
_QUARTERS_BEFORE = 12  # of earnings before the first session, so that a surprise has its history
_NOTICE = 15  # sessions from the announcement of a release to the release
_MINUTE = np.timedelta64(60, "s")
_EVENING, _MORNING, _AFTERNOON = 16 * 60 + 5, 6 * 60 + 30, 15 * 60 + 30  # minutes of the New York day


def events(rng: np.random.Generator, path: Path, day: np.ndarray) -> Events:
    """day: (n + BEYOND,) datetime64[D]: the sessions of the path, then those in which coming releases lie."""
    released, early = np.flatnonzero(path.release), bool(rng.random() < 0.5)
    return Events(
        _filings(rng, path, day, released, early=early),
        _insider_trades(rng, path, day),
        _earnings(rng, path, day, released, early=early),
        _announcements(rng, day, released, early=early),
        _articles(rng, path, day),
    )


def _before(
    rng: np.random.Generator, day: np.ndarray, rows: np.ndarray, *, early: bool | np.ndarray
) -> np.ndarray:
    """Moments before the sessions `rows`: in the morning (`early`), or in the evening of the session before."""
    date = np.where(early, day[rows], day[np.maximum(rows - 1, 0)])
    minutes = np.where(
        early, _MORNING + rng.integers(0, 150, rows.size), _EVENING + rng.integers(0, 85, rows.size)
    )
    return utc(date + minutes * _MINUTE)


def _filings(
    rng: np.random.Generator, path: Path, day: np.ndarray, released: np.ndarray, *, early: bool
) -> Filings:
    other = np.flatnonzero(path.filing)
    other = other[other > 0]
    report = (
        released[released + 2 < path.filing.size] + 2
    )  # the 10-Q, or the 10-K, follows two sessions later
    annual = np.arange(report.size) % 4 == rng.integers(4)
    form = np.where(annual, "10-K", "10-Q").astype("U16")
    late, amended = rng.random((2, report.size)) < np.array([[0.01], [0.04]])
    size = np.exp(15.5 + 0.4 * annual + np.cumsum(0.05 * rng.standard_normal(report.size)))
    moment = np.concatenate([
        _before(rng, day, released, early=early),
        _before(rng, day, other, early=rng.random(other.size) < 0.5),
        _before(rng, day, report, early=False),
        _before(rng, day, report[late], early=True),
        _before(rng, day, report[amended] + 5, early=False),
    ])  # fmt: skip
    eight = np.full(released.size + other.size, "8-K", "U16")
    forms = [eight, form, np.char.add("NT ", form[late]), np.char.add(form[amended], "/A")]
    items = [np.full(released.size, "2.02,9.01", "U64"), _ITEMS[rng.integers(0, 4, other.size)]]
    none = report.size + int(late.sum()) + int(amended.sum())
    order = np.argsort(moment, kind="stable")
    return Filings(
        moment[order],
        np.concatenate(forms).astype("U16")[order],
        np.concatenate([*items, np.full(none, "", "U64")]).astype("U64")[order],
        np.round(np.concatenate([
            np.exp(rng.normal(12, 0.5, eight.size)), size, np.full(int(late.sum()), 3e4), size[amended] / 4
        ]))[order],
    )  # fmt: skip


def _insider_trades(rng: np.random.Generator, path: Path, day: np.ndarray) -> InsiderTrades:
    """The trades that tell something, and sales under a plan, which do not."""
    told = np.flatnonzero(path.trade)
    planned = np.flatnonzero(rng.random(path.trade.size) < 4 / 252)
    rows = np.concatenate([told, planned])
    code = np.concatenate([np.where(path.trade[told] > 0, "P", "S"), np.full(planned.size, "S")]).astype("U1")
    kept = rows > 0
    rows, code, plan = rows[kept], code[kept], np.arange(kept.size)[kept] >= told.size
    moment = _before(rng, day, rows, early=False)
    order = np.argsort(moment, kind="stable")
    dollars = np.round(np.exp(rng.normal(13.5, 1, rows.size)))
    insider = np.char.add("Insider ", rng.integers(1, 7, rows.size).astype("U2")).astype("U32")
    return InsiderTrades(moment[order], code[order], dollars[order], insider[order], plan[order])


def _earnings(
    rng: np.random.Generator, path: Path, day: np.ndarray, released: np.ndarray, *, early: bool
) -> Earnings:
    """Earnings a share of the first day's count: those of the same quarter a year ago, and the surprise."""
    earlier = rng.standard_normal(_QUARTERS_BEFORE)
    change = 0.08 * np.concatenate([earlier, path.surprise[released]])
    eps = np.empty(change.size)
    for season in range(4):
        eps[season::4] = rng.uniform(0.8, 1.6) + np.cumsum(change[season::4])
    moment = _before(rng, day, released, early=early)
    back = np.arange(_QUARTERS_BEFORE, 0, -1) * np.timedelta64(91, "D")
    first = moment[0] if moment.size else utc(day[:1] + _EVENING * _MINUTE)[0]
    return Earnings(np.concatenate([first - back, moment]), np.round(eps, 4))


def _announcements(
    rng: np.random.Generator, day: np.ndarray, released: np.ndarray, *, early: bool
) -> Announcements:
    """Also of the release after the last session, where it is announced by then."""
    last = day.size - BEYOND - 1
    coming = np.append(released, released[-1] + QUARTER) if released.size else released
    coming = coming[(coming >= _NOTICE) & (coming - _NOTICE <= last)]
    moment = utc(day[coming - _NOTICE] + (_EVENING + rng.integers(0, 60, coming.size)) * _MINUTE)
    return Announcements(moment, day[coming if early else coming - 1])


def _articles(rng: np.random.Generator, path: Path, day: np.ndarray) -> News:
    move = path.log_return / path.volatility
    loud = 8 * (path.release | path.filing)
    articles = rng.poisson(3 * np.exp(0.4 * np.minimum(np.abs(move), 4)) + loud).astype(np.float64)
    sentiment = np.tanh(0.5 * move + 0.5 * rng.standard_normal(move.size))
    some = np.flatnonzero(articles)
    return News(utc(day[some] + _AFTERNOON * _MINUTE), articles[some], sentiment[some])
