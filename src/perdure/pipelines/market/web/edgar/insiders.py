"""Form 4: what insiders bought and sold on the open market."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from perdure.pipelines.market.data.provider import MalformedError

_DOCUMENT = re.compile(rb"<XML>\s*(.*?)\s*</XML>", re.DOTALL)
_CODES = ("P", "S")  # on the open market; grants, gifts and the like are no opinions


@dataclass(frozen=True, slots=True)
class Trade:
    """All that one filing says of purchases ("P"), or of sales ("S")."""

    code: str
    dollars: float
    insider: str
    planned: bool


def trades(submission: bytes, *, issuer: int) -> list[Trade]:
    """The trades of a complete submission in shares of `issuer`; none where it is the company that trades in others.

    Before 2023 there was no box for a 10b5-1 plan, and footnotes tell of it.
    """
    found = _DOCUMENT.search(submission)
    if not found:
        return []  # on paper, or as plain text: before 2003
    try:
        form = ET.fromstring(found.group(1))  # noqa: S314  EDGAR checks what it accepts, and expat bounds entities
    except ET.ParseError as error:
        raise MalformedError(f"a Form 4 is no XML: {error}") from error
    if int(form.findtext("issuer/issuerCik") or 0) != issuer:
        return []
    insider = (form.findtext("reportingOwner/reportingOwnerId/rptOwnerName") or "unknown").strip()
    planned = (form.findtext("aff10b5One") or "").strip().lower() in ("1", "true")
    notes = " ".join(note for part in form.findall("footnotes") for note in part.itertext())
    sums = {code: _dollars(form, code) for code in _CODES}
    return [
        Trade(code, dollars, insider[:32], planned or "10b5-1" in notes)
        for code, dollars in sums.items()
        if dollars > 0
    ]


def _dollars(form: ET.Element, code: str) -> float:
    return math.fsum(
        _number(row, "transactionShares") * _number(row, "transactionPricePerShare")
        for row in form.findall("nonDerivativeTable/nonDerivativeTransaction")
        if (row.findtext("transactionCoding/transactionCode") or "").strip() == code
    )


def _number(row: ET.Element, name: str) -> float:
    """An amount; 0 where a footnote stands in its place."""
    text = (row.findtext(f"transactionAmounts/{name}/value") or "").strip()
    try:
        return float(text) if text else 0.0
    except ValueError as error:
        raise MalformedError(f"a Form 4 has {text!r} for {name}") from error
