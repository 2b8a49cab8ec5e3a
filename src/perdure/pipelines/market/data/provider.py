"""The protocol that every source of market data follows, and its errors."""

from __future__ import annotations

from typing import Protocol

from perdure.errors import PerdureError
from perdure.pipelines.market.data.bars import Prices, Series
from perdure.pipelines.market.data.events import Events


class SourceError(PerdureError):
    """A source did not give usable data."""

    exit_code = 1


class NoSuchSymbolError(SourceError):
    """The source does not know the symbol; asking again is no use."""


class RateLimitedError(SourceError):
    """The source refuses for now. `retry_after`: seconds to wait, where it said so."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[type[RateLimitedError], tuple[str, float | None]]:
        return type(self), (str(self), self.retry_after)


class MalformedError(SourceError):
    """The source answered with something else than data: an error page, a cut-off body, an empty table."""


class Provider(Protocol):
    """One source of market data. Every method raises SourceError."""

    @property
    def name(self) -> str:
        """Of the source, as the user writes it: "synthetic", "yfinance"."""
        ...

    def prices(self, symbol: str) -> Prices:
        """All daily bars of a stock or a fund ("AAPL", "SPY", "XLK"), as traded."""
        ...

    def events(self, symbol: str) -> Events:
        """What became public about a company; `Events.none()` where the source has no events."""
        ...

    def index(self, name: str) -> Series | None:
        """Closes of an index ("VIX", "VIX3M"); None where the source does not have it."""
        ...

    def oracle(self, symbol: str) -> Series | None:
        """The best possible score of each day, for a made market whose signal is known; else None."""
        ...
