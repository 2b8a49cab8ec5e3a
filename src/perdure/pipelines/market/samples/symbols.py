"""The symbols of a run as units: which there are, and what a worker does with one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.errors import ChangedError
from perdure.pipelines.market.data.source import source as source_named
from perdure.pipelines.market.data.symbols import Company, companies, company
from perdure.pipelines.market.samples.backtest import backtest, inspect
from perdure.pipelines.market.samples.newest import last_session, truncated

if TYPE_CHECKING:
    from perdure.pipelines.market.folder.provider import Folder

__all__ = [
    "Place",
    "asked",
    "backtest",
    "files_of",
    "inspect",
    "last_session",
    "require_unchanged",
    "state",
    "truncated",
    "unit",
]
_FOLDERS = ("csv", "parquet")
State = tuple[tuple[str, int, int], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where fetched data lie, how many seconds a unit waits, and the `state` of the source's files when the run began;
    none changes a result."""

    cache: Path
    pace: float
    began: State = ()

    def __perdure_fingerprint__(self) -> str:
        return "where data are cached, and the pace"


def unit(
    function: Callable[..., Any], symbol: Company, *, source: str, files: Path | None, settings: Mapping[str, Any],
    place: Place, **more: Any,
) -> Any:  # fmt: skip
    """What a worker does. files: the source's folder, so that its content is part of the fingerprint."""
    given = {**settings, "pace": place.pace}
    result = function(symbol, source=source, cache=place.cache, settings=given, **more)
    require_unchanged(source, place)
    return result


def require_unchanged(source: str, place: Place) -> None:
    """Raises ChangedError where files are no longer those that the run began with, and whose digest it recorded."""
    now = state(source)
    if now == place.began:
        return
    names = ", ".join(sorted({entry[0] for entry in {*now} ^ {*place.began}}))
    raise ChangedError(
        f"files of {source} were changed while the run was reading them: {names}; run again with --redo quality",
        [f"data: {names}"],
    )


def state(source: str) -> State:
    """What tells a folder's files of now from those of another time; nothing for other sources. Raises UsageError."""
    folder = files_of(source)
    return () if folder is None else _folder(source, folder).state()


def asked(source: str, settings: Mapping[str, Any], *, cache: Path) -> dict[str, Company]:
    """The companies of a run, by symbol: those of a folder, or some of the 82 by sector. Raises UsageError."""
    folder = files_of(source)
    if folder is not None:
        return {name: company(name) for name in _folder(source, folder).symbols()}
    source_named(source, cache=cache, config=settings)  # what it refuses, it refuses for every symbol
    sectors = list(dict.fromkeys(row.sector for row in companies()))[: settings["sectors"]]
    least = settings["per_sector"] or len(companies())
    chosen = [[row for row in companies() if row.sector == sector][:least] for sector in sectors]
    return {row.symbol: row for rows in chosen for row in rows}


def files_of(source: str) -> Path | None:
    """The folder of a source that is one; None for the others."""
    kind, _, place = source.partition(":")
    return Path(place).expanduser().absolute() if kind in _FOLDERS and place else None


def _folder(source: str, folder: Path) -> Folder:
    from perdure.pipelines.market.folder.provider import Folder

    return Folder(folder, source.partition(":")[0])
