"""Trading days of the made market: Monday to Friday without the fixed US holidays."""

from __future__ import annotations

import datetime as dt

import numpy as np

LAST_DAY = np.datetime64(
    "2025-12-31"
)  # a constant: the market must not depend on the day on which it is made


def sessions(count: int, *, beyond: int = 0) -> np.ndarray:
    """(count + beyond,) datetime64[D]: `count` sessions that end on LAST_DAY, then `beyond` more."""
    years = -(-count // 245) + 1
    calendar = np.busdaycalendar(holidays=_holidays(LAST_DAY.astype(object).year - years, years + 2))
    offsets = np.arange(1 - count, 1 + beyond)
    return np.busday_offset(LAST_DAY, offsets, roll="backward", busdaycal=calendar)


def _holidays(first_year: int, years: int) -> list[dt.date]:
    return [day for year in range(first_year, first_year + years) for day in _of_year(year)]


def _of_year(year: int) -> list[dt.date]:
    """The exchange's holidays by rule. Good Friday is left out: it hangs on the moon."""
    fixed = [dt.date(year, 1, 1), dt.date(year, 7, 4), dt.date(year, 12, 25)]
    if year >= 2022:
        fixed.append(dt.date(year, 6, 19))
    monday, thursday = 0, 3
    return [
        *map(_observed, fixed),
        _nth(year, 1, monday, 3),
        _nth(year, 2, monday, 3),
        _nth(year, 6, monday, 1) - dt.timedelta(7),  # the last Monday of May
        _nth(year, 9, monday, 1),
        _nth(year, 11, thursday, 4),
    ]


def _observed(day: dt.date) -> dt.date:
    """Saturday's holiday is kept on Friday, Sunday's on Monday."""
    return day + dt.timedelta({5: -1, 6: 1}.get(day.weekday(), 0))


def _nth(year: int, month: int, weekday: int, number: int) -> dt.date:
    first = dt.date(year, month, 1)
    return first + dt.timedelta((weekday - first.weekday()) % 7 + 7 * (number - 1))
