"""Earnings a share as first reported, from the XBRL facts of a company."""

from __future__ import annotations

import numpy as np

from perdure.pipelines.market.data.provider import MalformedError
from perdure.pipelines.market.web.http import document

_QUARTER, _YEAR = (80, 100), (350, 380)  # days that a period of the kind lasts
_LATE = np.timedelta64(75, "D")  # a release comes within this time of its quarter's end
_DAY = np.timedelta64(1, "D")


def quarters(body: bytes) -> dict[np.datetime64, float]:
    """Diluted earnings a share by the last day of the quarter; empty for a company that reports none.

    Of a number that was reported several times, the one filed first. The year's last quarter is the year less the
    other three: no report has it by itself.
    """
    facts = document(body, dict)
    if "facts" not in facts:
        raise MalformedError(
            f"EDGAR's facts of a company have no 'facts', but {', '.join(map(str, facts))[:100]}"
        )
    concept = facts["facts"].get("us-gaap", {}).get("EarningsPerShareDiluted", {})
    first: dict[tuple[np.datetime64, np.datetime64], float] = {}
    try:
        for fact in sorted(concept.get("units", {}).get("USD/shares", []), key=lambda fact: fact["filed"]):
            if "start" in fact:
                first.setdefault(
                    (np.datetime64(fact["start"]), np.datetime64(fact["end"])), float(fact["val"])
                )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedError(f"a fact of EDGAR lacks {error}") from error
    ends = {end: value for (start, end), value in first.items() if _lasts(start, end, _QUARTER)}
    for (start, end), value in first.items():
        parts = [other for day, other in ends.items() if start < day < end - 30 * _DAY]
        if _lasts(start, end, _YEAR) and len(parts) == 3:
            ends.setdefault(end, value - sum(parts))
    return ends


def _lasts(start: np.datetime64, end: np.datetime64, days: tuple[int, int]) -> bool:
    return bool(days[0] <= (end - start) / _DAY <= days[1])


def released(release: np.ndarray, by_quarter: dict[np.datetime64, float]) -> np.ndarray:
    """(k,) the earnings that each release told: those of the last quarter that had ended; NaN unknown.

    release: datetime64[s]. The number is that of the report which follows, and the release has it already.
    """
    ends = np.array(sorted(by_quarter), "datetime64[D]")
    values = np.array([by_quarter[end] for end in ends], np.float64)
    if not len(ends):
        return np.full(len(release), np.nan)
    day = release.astype("datetime64[D]")
    rows = np.searchsorted(ends, day) - 1
    fits = (rows >= 0) & (day - ends[np.maximum(rows, 0)] <= _LATE)
    return np.where(fits, values[np.maximum(rows, 0)], np.nan)
