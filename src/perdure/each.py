"""`run.step` and `run.each`: units that run in this process, one after the other, and whose results are recorded."""

from __future__ import annotations

import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from perdure import results
from perdure.errors import DamagedError, Stopped, UsageError
from perdure.loop import left_by_break
from perdure.phase import Session, path_of_unit
from perdure.seams import seam
from perdure.snapshot import streams
from perdure.store.generations import Entry
from perdure.store.tables import Rows
from perdure.store.units import Unit


def unit_seed(session: Session, path: str, key: str) -> int | None:
    """The seed of a unit's random streams; None where the run leaves them alone."""
    return None if session.seed is None else streams.seed_for(session.seed, path, key)


@dataclass(slots=True)
class UnitLog:
    """What a unit's body logs and inserts; it commits with the unit."""

    entries: list[Entry] = field(default_factory=list)
    rows: dict[str, Rows] = field(default_factory=dict)

    def log(self, values: dict[str, object]) -> None:
        self.entries.append(Entry(len(self.entries), 0, values))

    def insert(self, table: str, rows: Rows) -> None:
        if table in self.rows:
            first = self.rows[table]
            if first.columns != rows.columns:
                raise UsageError(f"table {table!r} got rows with other columns within one unit")
            rows = Rows(first.columns, first.types, first.values + rows.values)
        self.rows[table] = rows


@dataclass(slots=True)
class Step:
    """One once-only call in progress."""

    session: Session
    path: str
    log: UnitLog = field(default_factory=UnitLog)

    def run(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], options: Mapping[str, Any]
    ) -> object:
        """The recorded result; computed first where there is none."""
        recorded = self.session.store.units.one(self.path, "")
        if recorded is not None and recorded.state == "done":
            try:
                value = self.session.reload(self.path, recorded)
            except DamagedError as error:
                recorded = self.session.lost(self.path, recorded, error)
                self.session.reopen(self.path)
            else:
                self.session.complete(
                    self.path, seconds=0.0
                )  # the attempt before may have died just before that
                return value
        began = time.monotonic()
        try:
            with streams.unit(unit_seed(self.session, self.path, "")):
                value = function(*arguments, **options)
        except Stopped:
            self.session.console.say(f"{self.path}: discarded; it starts again next time")
            raise
        seam("unit.computed")
        seconds = time.monotonic() - began
        unit = self.session.commit_unit(
            self.path, "", results.encode(value), position=0, tries=1, seconds=seconds, entries=self.log.entries,
            rows=self.log.rows, before=recorded,
        )  # fmt: skip
        self.session.complete(self.path, seconds=seconds)
        return self.session.reload(self.path, unit)


@dataclass(slots=True)
class Item:
    """One unit of `run.each`: its `key`, the `argument` given for it, and the `result` that its body sets."""

    key: str
    argument: Any
    result: object = None


@dataclass(slots=True, weakref_slot=True)
class Each:
    """Sequential units; a body may hold loops of its own. After the end `results` has every unit's result."""

    session: Session
    path: str
    items: dict[str, Any]
    current: Item | None = None
    log: UnitLog = field(default_factory=UnitLog)
    finished: bool = False
    left: str = ""  # how the `for` statement let go before the end: 'break' or 'exception'
    running: weakref.ref[Items] | None = None
    _pending: deque[str] | None = None
    _recorded: Unit | None = None
    _outer: streams.Outer | None = None
    _began: float = 0.0
    _phase_began: float = field(default_factory=time.monotonic)

    def __iter__(self) -> Iterator[Item]:
        items = Items(self)
        self.running = weakref.ref(items)
        return items

    @property
    def results(self) -> dict[str, object]:
        """Results of the units that are done, by key, as their records have them."""
        if self.left == "break" and not self.finished:
            self.end_by_break()
        done = self.session.store.units.all(self.path)
        return {
            key: self.session.reload(self.path, done[key])
            for key in self.items
            if key in done and done[key].state == "done"
        }

    def unit_path(self) -> str:
        """Path of the unit whose body runs: loops inside it are named below it."""
        assert self.current is not None
        return path_of_unit(self.path, self.current.key)

    def next_item(self) -> Item | None:
        """Commit the unit whose body just ended and begin the next pending one; None at the end."""
        if self.current is not None:
            self.complete_unit()
        if self._pending is None:
            self._pending = self._find_pending()
        if self._pending:
            self._begin(self._pending.popleft())
            return self.current
        self.finish()
        return None

    def _find_pending(self) -> deque[str]:
        phase, done = self.session.store.units.phase(self.path), self.session.store.units.all(self.path)
        if phase is not None and phase.ended:
            return deque()
        pending = deque(key for key in self.items if key not in done or not self._is_whole(done[key]))
        if pending:
            self.session.reopen(self.path)
        return pending

    def _is_whole(self, unit: Unit) -> bool:
        if unit.state != "done":
            return False
        try:
            self.session.reload(self.path, unit)
        except DamagedError as error:
            self.session.lost(self.path, unit, error)
            return False
        return True

    def _begin(self, key: str) -> None:
        self.current, self.log, self._began = Item(key, self.items[key]), UnitLog(), time.monotonic()
        self._recorded = self.session.store.units.one(self.path, key)
        value = unit_seed(self.session, self.path, key)
        if value is not None:
            self._outer = streams.enter(value)

    def complete_unit(self) -> None:
        """The body came to its end: the unit counts."""
        item = self.current
        assert item is not None
        seam("unit.computed")
        self._return_streams()
        self.session.commit_unit(
            self.path, item.key, results.encode(item.result), position=list(self.items).index(item.key), tries=1,
            seconds=time.monotonic() - self._began, entries=self.log.entries, rows=self.log.rows,
            before=self._recorded,
        )  # fmt: skip
        self.current = None
        self.session.console.progress(self.path, len(self.items) - len(self._pending or ()), len(self.items))

    def _return_streams(self) -> None:
        if self._outer is not None:
            streams.leave(self._outer)
            self._outer = None

    def finish(self) -> None:
        self.finished = True
        self.session.complete(self.path, seconds=time.monotonic() - self._phase_began)

    def end_by_break(self) -> None:
        """The body left by `break`: its unit counts, and the others stay pending, on a rerun too."""
        with self.session.signals.deferred():
            if self.current is not None:
                self.complete_unit()
            with self.session.store.transaction():
                self.session.store.units.end(self.path)
            self.finish()

    def abandon(self) -> None:
        """The body raised: nothing of its unit counts."""
        self._return_streams()
        self.current = None


class Items:
    """What a `for` statement holds while it runs."""

    __slots__ = ("__weakref__", "_each")

    def __init__(self, each: Each) -> None:
        self._each = each

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        item = self._each.next_item()
        if item is None:
            raise StopIteration
        return item

    def __del__(self) -> None:
        if not self._each.finished:
            self._each.left = "break" if left_by_break(sys._getframe().f_back) else "exception"
