"""When an event counts: the first session that knows it 15 minutes before its close, New York time.

Half days (three a year, close at 13:00) are treated as whole ones. What becomes public in their afternoon counts for
them, hours before the next open at which a decision taken on them is carried out, so nothing is traded on ahead of
its time.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np

from perdure.pipelines.market.features import kernels

_NEW_YORK = ZoneInfo("America/New_York")
_CUT_OFF = time(15, 45)
_EPOCH = date(1970, 1, 1).toordinal()
BEFORE = -1  # the session of what was public a day before the first bar, or earlier


def cut_offs(days: np.ndarray) -> np.ndarray:
    """(n,) datetime64[s] in UTC: the last moment whose events session `days[i]` still knows."""
    return _moments(days.astype("datetime64[D]").astype(np.int64).tobytes())


@lru_cache(maxsize=16)  # every symbol, and every kind of event, has nearly the same days
def _moments(numbers: bytes) -> np.ndarray:
    found = [_cut_off(number) for number in np.frombuffer(numbers, np.int64).tolist()]
    moments = np.array(found, np.int64).astype("datetime64[s]")
    moments.setflags(write=False)
    return moments


def _cut_off(number: int) -> int:
    moment = datetime.combine(date.fromordinal(_EPOCH + number), _CUT_OFF, tzinfo=_NEW_YORK)
    return int(moment.astimezone(UTC).timestamp())


def sessions(available_at: np.ndarray, days: np.ndarray) -> np.ndarray:
    """(k,) int64: the row of the first of `days` that knows each event; BEFORE, or n for what none knows yet."""
    moments = cut_offs(days)
    rows = np.searchsorted(moments, available_at.astype("datetime64[s]"), side="left").astype(np.int64)
    if len(moments):
        rows[available_at <= moments[0] - np.timedelta64(1, "D")] = BEFORE
    return rows


def local_days(available_at: np.ndarray) -> np.ndarray:
    """(k,) datetime64[D]: the day in New York on which each event became public."""
    moments = available_at.astype("datetime64[s]").astype(np.int64)
    found = [datetime.fromtimestamp(int(moment), _NEW_YORK).date() for moment in moments]
    return np.array(found, "datetime64[D]")


def per_session(rows: np.ndarray, count: int, amounts: np.ndarray | None = None) -> np.ndarray:
    """(count,) float64: how many events, or which amount of them, each session learned of."""
    inside = (rows >= 0) & (rows < count)
    weights = None if amounts is None else amounts[inside]
    return np.bincount(rows[inside], weights=weights, minlength=count).astype(np.float64)


def recent(amounts: np.ndarray, width: int) -> np.ndarray:
    """(n,) the sum over the last `width` sessions, or over as many as there are."""
    return kernels.total(np.concatenate([np.zeros(width - 1), amounts]), width)[width - 1 :]


def held(rows: np.ndarray, values: np.ndarray, count: int, otherwise: float = 0.0) -> np.ndarray:
    """(count,) the value of the latest event that each session knows; `otherwise` before the first.

    rows: (k,) rising; of several events in one session the last counts.
    """
    last = np.searchsorted(rows, np.arange(count), side="right") - 1
    if not len(values):
        return np.full(count, otherwise)
    return np.where(last >= 0, values[np.maximum(last, 0)], otherwise)
