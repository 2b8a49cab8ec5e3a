"""The companies of the market pipeline: `symbols.csv`."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MARKET = "SPY"  # the fund that stands for the whole market


@dataclass(frozen=True, slots=True)
class Company:
    """A row: sector ("Technology"), the sector's fund ("XLK"), symbol ("AAPL")."""

    sector: str
    sector_etf: str
    symbol: str


@lru_cache(maxsize=1)
def companies() -> tuple[Company, ...]:
    """All 82, in the order of the file."""
    with Path(__file__).with_name("symbols.csv").open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        return tuple(Company(row["sector"], row["sector_etf"], row["symbol"]) for row in rows)


def company(symbol: str) -> Company:
    """The row of `symbol`; a company that is not in the file counts to no sector, and the market is its fund."""
    return next((row for row in companies() if row.symbol == symbol), Company("Other", MARKET, symbol))


def funds() -> tuple[str, ...]:
    """The market's fund, then one a sector."""
    return (MARKET, *dict.fromkeys(company.sector_etf for company in companies()))
