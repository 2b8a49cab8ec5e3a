"""The features of every symbol on its newest session up to a day: made by the code that made the training samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.data.provider import SourceError
from perdure.pipelines.market.data.source import source as source_named
from perdure.pipelines.market.data.symbols import Company
from perdure.pipelines.market.samples.backtest import Plan
from perdure.pipelines.market.samples.newest import Newest, Until, newest
from perdure.pipelines.market.samples.regimes import UNKNOWN
from perdure.pipelines.market.samples.symbols import asked
from perdure.pipelines.market.synthetic.calendar import LAST_DAY


@dataclass(frozen=True, slots=True)
class Rows:
    """One row a symbol. day: (n,) datetime64[D]; x: (n, features) float32; regime: (n,) int8.

    skipped: symbol -> why it has no row.
    """

    symbols: tuple[str, ...]
    sectors: tuple[str, ...]
    day: np.ndarray
    x: np.ndarray
    regime: np.ndarray
    skipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def newest(self) -> np.datetime64:
        """The newest session of any symbol. Raises ValueError without rows."""
        return np.datetime64(self.day.max(), "D")


def latest(
    companies: Sequence[Company],
    *,
    source: str,
    cache: Path,
    settings: Mapping[str, Any],
    asof: np.datetime64,
) -> Rows:
    """The rows of the newest session up to `asof`. source, cache, settings: as for `backtest`.

    A symbol that has no usable row of that session is skipped, with its reason. Raises UsageError when all are.
    """
    provider = Until(source_named(source, cache=cache, config=settings), asof)
    plan = Plan.of(settings)
    found: list[tuple[Company, Newest]] = []
    skipped: dict[str, str] = {}
    for company in companies:
        try:
            found.append((company, newest(company, provider, plan)))
        except SourceError as error:
            skipped[company.symbol] = str(error)
    if not found:
        raise UsageError(f"no symbol can be forecast as of {asof}: {_first(skipped)}")
    return _rows(found, skipped)


def default_day(source: str) -> np.datetime64:
    """The day that is meant when nobody says: today, and for the made market its last."""
    return LAST_DAY if source == "synthetic" else np.datetime64(date.today(), "D")


def rows_as_of(asof: np.datetime64, *, config: Mapping[str, Any], source: str | None, beside: Path) -> Rows:
    """The rows of a trained model's companies. config: of its training. beside: the registry's file.

    What a source on the web gave is kept beside the registry for the day on which it was fetched, for a cache that
    serves training would never show a new session.
    """
    text = source or config["source"]
    cache = beside.parent / "cache" / date.today().isoformat()
    return latest(
        list(asked(text, config, cache=cache).values()), source=text, cache=cache, settings=config, asof=asof
    )


def _rows(found: list[tuple[Company, Newest]], skipped: dict[str, str]) -> Rows:
    session = max(row.day for _, row in found)
    reasons = {company.symbol: _why_not(row, session) for company, row in found}
    skipped |= {symbol: reason for symbol, reason in reasons.items() if reason is not None}
    kept = [(company, row) for company, row in found if reasons[company.symbol] is None]
    if not kept:
        raise UsageError(f"no symbol can be forecast on {session}: {_first(skipped)}")
    return Rows(
        tuple(company.symbol for company, _ in kept),
        tuple(company.sector for company, _ in kept),
        np.array([row.day for _, row in kept], "datetime64[D]"),
        np.array([row.values for _, row in kept], np.float32),
        np.array([row.regime for _, row in kept], np.int8),
        dict(sorted(skipped.items())),
    )


def _why_not(row: Newest, session: np.datetime64) -> str | None:
    """Why a row is no base for a forecast; None for one that is."""
    if row.day < session:
        return f"its newest session is {row.day}, and the market's is {session}"
    if row.regime == UNKNOWN:
        return "the market's history is too short to know its regime"
    undefined = int((~np.isfinite(row.values)).sum())
    return f"{undefined} of its features are undefined" if undefined else None


def _first(skipped: Mapping[str, str]) -> str:
    return next((f"{symbol}: {reason}" for symbol, reason in skipped.items()), "none was asked for")
