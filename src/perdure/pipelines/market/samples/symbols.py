"""The symbols of a run as units: which there are, and what a worker does with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure.pipelines.market.data.source import source as source_named
from perdure.pipelines.market.data.symbols import Company, companies, company
from perdure.pipelines.market.samples.backtest import backtest, inspect
from perdure.pipelines.market.samples.newest import last_session, truncated

__all__ = ["Place", "asked", "backtest", "files_of", "inspect", "last_session", "truncated", "unit"]
_FOLDERS = ("csv", "parquet")


@dataclass(frozen=True, slots=True)
class Place:
    """Where fetched data lie, and how many seconds a unit waits; neither changes a result."""

    cache: Path
    pace: float

    def __perdure_fingerprint__(self) -> str:
        return "where data are cached, and the pace"


def unit(
    function: Callable[..., Any], symbol: Company, *, source: str, files: Path | None, settings: Mapping[str, Any],
    place: Place, **more: Any,
) -> Any:  # fmt: skip
    """What a worker does. files: the source's folder, so that its content is part of the fingerprint."""
    given = {**settings, "pace": place.pace}
    return function(symbol, source=source, cache=place.cache, settings=given, **more)


def asked(source: str, settings: Mapping[str, Any], *, cache: Path) -> dict[str, Company]:
    """The companies of a run, by symbol: those of a folder, or some of the 82 by sector. Raises UsageError."""
    folder = files_of(source)
    if folder is not None:
        from perdure.pipelines.market.folder.provider import Folder

        names = Folder(folder, source.partition(":")[0]).symbols()
        return {name: company(name) for name in names}
    source_named(source, cache=cache, config=settings)  # what it refuses, it refuses for every symbol
    sectors = list(dict.fromkeys(row.sector for row in companies()))[: settings["sectors"]]
    least = settings["per_sector"] or len(companies())
    chosen = [[row for row in companies() if row.sector == sector][:least] for sector in sectors]
    return {row.symbol: row for rows in chosen for row in rows}


def files_of(source: str) -> Path | None:
    """The folder of a source that is one; None for the others."""
    kind, _, place = source.partition(":")
    return Path(place).expanduser().absolute() if kind in _FOLDERS and place else None
