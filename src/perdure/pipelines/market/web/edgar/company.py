"""A company's filings, each with the moment at which EDGAR accepted it.

The list's acceptanceDateTime ends in Z, and is New York time for some filers nonetheless; the header of each filing
has <ACCEPTANCE-DATETIME>, which always is New York time. Where there is no header, the list's time counts as New
York's: the later reading, which can let an event count too late, never too early.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.data.events import (
    Announcements,
    Earnings,
    Events,
    Filings,
    InsiderTrades,
    News,
    utc,
)
from perdure.pipelines.market.data.provider import MalformedError, NoSuchSymbolError
from perdure.pipelines.market.web.edgar import earnings, insiders
from perdure.pipelines.market.web.http import Fetcher, Request, document

_TICKERS = "https://www.sec.gov/files/company_tickers.json"
_PAGES = "https://data.sec.gov/submissions/{name}"
_FACTS = "https://data.sec.gov/api/xbrl/companyfacts/CIK{cik:010d}.json"
_FILING = "https://www.sec.gov/Archives/edgar/data/{cik}/{plain}/{accession}{ending}"
_FORMS = frozenset(("8-K", "8-K/A", "10-Q", "10-Q/A", "10-K", "10-K/A", "NT 10-Q", "NT 10-K"))
_INSIDERS = "4"
_ACCEPTED = re.compile(rb"ACCEPTANCE-DATETIME(?:>|&gt;)\s*(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)")


@dataclass(frozen=True, slots=True)
class Filing:
    """A row of the list of filings. listed: the acceptance as the list has it, read as New York time."""

    accession: str
    form: str
    items: str
    size: float
    listed: np.datetime64


@dataclass(frozen=True, slots=True)
class Edgar:
    """contact: a name and an e-mail address, which EDGAR demands. first: the first day of interest."""

    fetcher: Fetcher
    contact: str
    first: np.datetime64

    @classmethod
    def of(cls, fetcher: Fetcher, environment: Mapping[str, str], *, first: np.datetime64) -> Edgar:
        contact = environment.get("EDGAR_CONTACT", "").strip()
        if not contact:
            raise UsageError(
                "EDGAR serves only those who say who they are: set EDGAR_CONTACT to your name and e-mail address"
            )
        return cls(fetcher, contact, first)

    def events(self, symbol: str) -> Events:
        """Filings, insider trades and earnings; EDGAR has neither announcements nor news."""
        cik, _ = self.company(symbol)
        filings = [filing for filing in self._filings(symbol, cik) if filing.listed >= self.first]
        reports = [filing for filing in filings if filing.form in _FORMS]
        accepted = [self._accepted(symbol, cik, filing) for filing in reports]
        moment = np.array(accepted, "datetime64[s]")
        order = np.argsort(moment, kind="stable")
        table = Filings(
            moment[order],
            np.array([filing.form for filing in reports], "U16")[order],
            np.array([filing.items for filing in reports], "U64")[order],
            np.array([filing.size for filing in reports], np.float64)[order],
        )
        return Events(
            table, self._trades(symbol, cik, filings), self._earnings(symbol, cik, table), Announcements.none(),
            News.none(),
        )  # fmt: skip

    def company(self, symbol: str) -> tuple[int, str]:
        """The company's number and name."""
        listed = tickers(self._fetch("all", "tickers", _TICKERS, tickers))
        if symbol.replace(".", "-") not in listed:
            raise NoSuchSymbolError(f"EDGAR's list of tickers has no {symbol!r}; check the symbol")
        return listed[symbol.replace(".", "-")]

    def _filings(self, symbol: str, cik: int) -> Iterator[Filing]:
        """The newest thousand, then those of older pages that reach into the time of interest."""
        name = f"CIK{cik:010d}.json"
        body = self._fetch(symbol, name, _PAGES.format(name=name), filings)
        yield from filings(body)
        for page in document(body, dict)["filings"].get("files", []):
            if np.datetime64(page["filingTo"]) >= self.first:
                yield from filings(
                    self._fetch(symbol, page["name"], _PAGES.format(name=page["name"]), filings)
                )

    def _accepted(self, symbol: str, cik: int, filing: Filing) -> np.datetime64:
        try:
            body = self._filing(symbol, cik, filing.accession, "-index-headers.html", accepted, optional=True)
        except NoSuchSymbolError:  # an old filing without a page of its own
            return utc(np.array([filing.listed]))[0]
        return accepted(body)

    def _trades(self, symbol: str, cik: int, filings: list[Filing]) -> InsiderTrades:
        rows: list[tuple[np.datetime64, insiders.Trade]] = []
        for filing in filings:
            if filing.form == _INSIDERS:
                body = self._filing(symbol, cik, filing.accession, ".txt", accepted)
                rows += [(accepted(body), trade) for trade in insiders.trades(body, issuer=cik)]
        rows.sort(key=lambda row: row[0])
        return InsiderTrades(
            np.array([moment for moment, _ in rows], "datetime64[s]"),
            np.array([trade.code for _, trade in rows], "U1"),
            np.array([trade.dollars for _, trade in rows], np.float64),
            np.array([trade.insider for _, trade in rows], "U32"),
            np.array([trade.planned for _, trade in rows], bool),
        )

    def _earnings(self, symbol: str, cik: int, table: Filings) -> Earnings:
        told = np.char.find(table.items, "2.02") >= 0
        release = table.available_at[told & (table.form == "8-K")]
        facts = self._fetch(symbol, "facts", _FACTS.format(cik=cik), earnings.quarters)
        return Earnings(release, earnings.released(release, earnings.quarters(facts)))

    def _filing(
        self, symbol: str, cik: int, accession: str, ending: str, check: Callable[[bytes], object],
        *, optional: bool = False,
    ) -> bytes:  # fmt: skip
        url = _FILING.format(cik=cik, plain=accession.replace("-", ""), accession=accession, ending=ending)
        return self._fetch(symbol, f"{accession}{ending}", url, check, optional=optional)

    def _fetch(
        self, symbol: str, kind: str, url: str, check: Callable[[bytes], object], *, optional: bool = False
    ) -> bytes:
        headers = {"User-Agent": f"perdure {self.contact}"}
        return self.fetcher.fetch(Request("edgar", symbol, kind, url, check, headers, optional))


def tickers(body: bytes) -> dict[str, tuple[int, str]]:
    """Number and name of each company by its symbol."""
    try:
        return {row["ticker"]: (int(row["cik_str"]), row["title"]) for row in document(body, dict).values()}
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedError(f"EDGAR's list of tickers lacks {error}") from error


def filings(body: bytes) -> list[Filing]:
    """The rows of the list of filings, or of one of its older pages."""
    page: dict[str, Any] = document(body, dict)
    try:
        recent = page["filings"]["recent"] if "filings" in page else page
        names = ("accessionNumber", "form", "items", "size", "acceptanceDateTime")
        return [
            Filing(accession, form, items, float(size), np.datetime64(moment[:19], "s"))
            for accession, form, items, size, moment in zip(*(recent[name] for name in names), strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedError(f"EDGAR's list of filings lacks {error}") from error


def accepted(body: bytes) -> np.datetime64:
    """The moment of acceptance in a filing's header, in UTC."""
    found = _ACCEPTED.search(body)
    if not found:
        raise MalformedError(f"a filing's header has no ACCEPTANCE-DATETIME; it begins {body[:80]!r}")
    year, month, day, hour, minute, second = (part.decode() for part in found.groups())
    local = np.array([f"{year}-{month}-{day}T{hour}:{minute}:{second}"], "datetime64[s]")
    return utc(local)[0]
