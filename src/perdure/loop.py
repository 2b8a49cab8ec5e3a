"""`run.range` and `run.batches`: loops that resume where they were killed, between iterations or between batches."""

from __future__ import annotations

import dis
import inspect
import json
import math
import sys
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from perdure.errors import StateError, UsageError
from perdure.phase import Session
from perdure.seams import seam
from perdure.snapshot import streams
from perdure.snapshot.parts import Part, Source
from perdure.snapshot.track import Snapshot, Track
from perdure.store.generations import Cursor

if TYPE_CHECKING:
    import numpy as np

_LEAVING = {"POP_TOP", "POP_ITER"}  # what a `for` statement does with its iterator on `break` and `return`


@dataclass(frozen=True, slots=True)
class Goal:
    """What `best=` asks for."""

    metric: str
    maximize: bool

    @classmethod
    def of(cls, text: str | None) -> Goal | None:
        if text is None:
            return None
        direction, separator, metric = text.partition(":")
        if not separator or direction not in {"max", "min"} or not metric:
            raise UsageError(
                f"best={text!r} is not understood; write it like 'max:val_auc' or 'min:val_loss'"
            )
        return cls(metric, direction == "max")


@dataclass(slots=True, weakref_slot=True)
class Loop:
    """A durable loop. Iterate over it; `stop()` ends it after the running iteration."""

    session: Session
    track: Track
    name: str
    total: int
    sources: dict[str, Source]
    goal: Goal | None
    position: int = 0  # complete iterations
    finished: bool = False
    left: str = ""  # how the `for` statement let go before the end: 'break' or 'exception'
    _stopping: bool = False
    _open: bool = False  # an iteration is running
    _stream: int = 0  # `run.batches` loops begun in this iteration
    _batch: int = 0
    _pending: Snapshot | None = None  # to be restored in mid-iteration
    _metric: float | None = None
    _began: float = 0.0
    _started: bool = False
    _warned: bool = False
    running: weakref.ref[Iterations] | None = None

    @property
    def path(self) -> str:
        """The loop's phase."""
        return self.track.loop

    # -- what a script uses --------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End the loop after this iteration, which still counts."""
        self._stopping = True

    @property
    def best_value(self) -> float | None:
        """The best value of the metric so far."""
        self._end_if_left()
        return self.track.best.value if self.track.best else None

    @property
    def best_position(self) -> int | None:
        """The iteration that reached it, counted from 0."""
        self._end_if_left()
        return self.track.best.position if self.track.best else None

    def restore_best(self) -> None:
        """Put the best state into the live objects."""
        self._end_if_left()
        if self.track.best is None:
            raise UsageError(f"the loop {self.name!r} has no best state: pass best= and log that metric")
        for name, source in self.sources.items():
            arrays, document = self.track.best_part(name)
            source.restore(arrays, _parsed(document))

    def _end_if_left(self) -> None:
        if self.left == "break" and not self.finished:
            self.end_by_break()

    def __iter__(self) -> Iterator[int]:
        if self._started:
            raise UsageError(
                f"the loop {self.name!r} was already iterated over in this attempt; give it a new name"
            )
        self._started = True
        iterations = Iterations(self)
        self.running = weakref.ref(iterations)
        return iterations

    def __len__(self) -> int:
        return self.total

    # -- the course of the loop ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Load the newest snapshot, if there is one, and put everything back."""
        self._began = self.session.store.clock.monotonic()
        with self.session.signals.deferred():
            snapshot = self.track.resume()
            self.session.signals.waits_for_save_point = True
            if snapshot is None:
                self.session.console.say(f"{self.name}: fresh start at iteration 1 of {self.total}")
                return
            self.position = snapshot.cursor.position
            self._check_fits(snapshot)
            if snapshot.cursor.batch or snapshot.cursor.stream:
                self._pending = snapshot
                self.track.say_again(self.position)
            else:
                self._restore(snapshot)
            self._tell(snapshot)
            if self.finished:
                self._complete()

    def _check_fits(self, snapshot: Snapshot) -> None:
        if self.position > self.total:
            raise UsageError(
                f"the loop {self.name!r} has run {self.position} iterations already and is asked for {self.total}; "
                f"ask for {self.position} or more, or start over with --redo {self.track.loop}"
            )
        document = _parsed(snapshot.part("loop")[1])
        self.finished = snapshot.final and (bool(document["stopped"]) or self.position >= self.total)
        saved = set(snapshot.header.documents) - {"loop", "streams"}
        if saved != set(self.sources):
            raise StateError(
                f"the loop {self.name!r} was saved with state {sorted(saved)} and has {sorted(self.sources)} now; "
                f"give it the same names, or compute it again with --redo {self.track.loop}"
            )

    def _restore(self, snapshot: Snapshot) -> None:
        for name, source in self.sources.items():
            arrays, document = snapshot.part(name)
            source.restore(arrays, _parsed(document))
        arrays, document = snapshot.part("streams")
        streams.restore(arrays, _parsed(document))
        if not snapshot.final:
            said = _parsed(snapshot.part("loop")[1])
            self._stopping, self._metric = bool(said["stopped"]), said["metric"]

    def _tell(self, snapshot: Snapshot) -> None:
        if self.finished:
            what = f"complete after {self.position} iterations (generation {snapshot.number})"
        else:
            batch = f", batch {snapshot.cursor.batch + 1}" if snapshot.cursor.batch else ""
            what = f"resuming at iteration {self.position + 1} of {self.total}{batch} (generation {snapshot.number})"
        self.session.console.say(f"{self.name}: {what}")

    def next_iteration(self) -> int | None:
        """Complete the running iteration and begin the next; None at the end."""
        if self._open:
            self.complete_iteration()
        if self.finished:
            return None
        if self._stopping or self.position >= self.total:
            self.finish()
            return None
        self._answer_signal()
        self._open, self._stream, self._batch, self._metric = True, 0, 0, None
        return self.position

    def complete_iteration(self) -> None:
        """The body came to its end: the iteration counts."""
        seam("iteration.end")
        if self._pending is not None:
            raise UsageError(
                f"the loop {self.name!r} was saved between two batches of iteration {self.position + 1}, and this "
                "time its body never called run.batches; call it in every iteration"
            )
        self._open = False
        with self.session.signals.deferred():
            self._offer_best()
            self.position += 1
            self.session.console.progress(self.track.loop, self.position, self.total)
            ends = self._stopping or self.position >= self.total
            if not ends and self.track.is_due(iteration_ended=True):
                self.track.save(Cursor(self.position), self._parts)
            self._warn_if_stale()

    def _warn_if_stale(self) -> None:
        if self.track.is_stale and not self._warned:
            self._warned = True
            self.session.console.say(
                f"warning: {self.name}: no array of state= changed between two snapshots; if the script replaces one "
                "(w = w - g), the loop cannot see the new one: change it in place (w -= g), or write state['w'] = w"
            )

    def _offer_best(self) -> None:
        if self.goal is None:
            return
        if self._metric is None:
            raise UsageError(
                f"best= of the loop {self.name!r} looks at {self.goal.metric!r}, and iteration {self.position} did not "
                f"log it; call run.log({self.goal.metric}=...) in each iteration"
            )
        parts = [Part(name, *source.capture()) for name, source in self.sources.items()]
        self.track.offer_best(self._metric, position=self.position, parts=parts, maximize=self.goal.maximize)

    def finish(self) -> None:
        """Save the final snapshot; from here on the loop is complete."""
        with self.session.signals.deferred():
            self.finished = True
            self.track.save(Cursor(self.position), self._parts, final=True)
            self._complete()

    def _complete(self) -> None:
        self.session.signals.waits_for_save_point = False
        seconds = self.session.store.clock.monotonic() - self._began
        self.session.complete(self.track.loop, seconds=seconds)

    def end_by_break(self) -> None:
        """The body left the loop by `break`: its iteration counts, and the loop ends."""
        self._stopping = True
        self.complete_iteration()
        self.finish()

    def abandon(self) -> None:
        """The body raised: nothing of its iteration counts."""
        self._open = False
        self.session.signals.waits_for_save_point = False

    def _answer_signal(self) -> None:
        """A save point: when a signal asked for it, save and stop."""
        if self.session.signals.requested is None:
            return
        cursor = Cursor(self.position, self._stream if self._open else 0, self._batch if self._open else 0)
        self.session.signals.waits_for_save_point = False
        if self._pending is None:  # else nothing was restored yet, and there is nothing new
            self.track.save(cursor, self._parts, wait=True)
        raise self.session.signals.stopped()

    def _parts(self) -> list[Part]:
        parts = [Part(name, *source.capture()) for name, source in self.sources.items()]
        said = {"stopped": self._stopping, "metric": self._metric if self._open else None}
        return [*parts, streams.capture(), Part("loop", {}, said)]

    # -- what the body does --------------------------------------------------------------------------------------

    def log(self, values: dict[str, object]) -> None:
        if self.goal is not None and self.goal.metric in values:
            self._metric = _as_number(values[self.goal.metric], self.goal.metric)
        self.track.log(values, position=self.position)

    def batches(self, order: np.ndarray, batch_size: int, *, drop_last: bool) -> Iterator[np.ndarray]:
        """Hand out slices of `order`, from where a resume left off; between two of them is a save point."""
        stream, self._stream = self._stream, self._stream + 1
        count = len(order) // batch_size if drop_last else math.ceil(len(order) / batch_size)
        first = 0
        if self._pending is not None:
            cursor = self._pending.cursor
            if stream + 1 < cursor.stream:
                return  # these batches were done before the snapshot
            first = cursor.batch
            self._restore(self._pending)
            self.track.forget_unsaved()
            self._pending = None
        for batch in range(first, count):
            self._batch = batch
            if batch > first:
                self._between_batches()
            yield order[batch * batch_size : (batch + 1) * batch_size]
            self.track.batch_done()
        self._batch = count

    def _between_batches(self) -> None:
        seam("batch.end")
        if self.session.signals.requested is not None:
            self._answer_signal()
        if self.track.is_due(iteration_ended=False):
            self.track.save(Cursor(self.position, self._stream, self._batch), self._parts)


class Iterations:
    """What a `for` statement holds while it runs; when it lets go, the loop learns how it ended."""

    __slots__ = ("__weakref__", "_loop")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        loop.start()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        position = self._loop.next_iteration()
        if position is None:
            raise StopIteration
        return position

    def __del__(self) -> None:
        if not self._loop.finished:
            self._loop.left = "break" if left_by_break(sys._getframe().f_back) else "exception"
            if self._loop.left == "exception":
                self._loop.abandon()


def left_by_break(frame: FrameType | None) -> bool:
    """Whether the `for` statement that just dropped its iterator did so by `break` or `return`.

    Python tells an iterator neither. But the instruction at which the frame stands does: a `break` pops the
    iterator, an exception leaves the frame at the instruction that raised. A generator in between (tqdm, say) is
    closed at its `yield`; then the frame that dropped the generator decides.
    """
    while frame is not None:
        name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        if name in _LEAVING:
            return True
        if not frame.f_code.co_flags & inspect.CO_GENERATOR or name not in {"YIELD_VALUE", "RESUME"}:
            return False
        frame = frame.f_back
    return False


def _as_number(value: object, metric: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UsageError(f"the metric {metric!r} was logged as {value!r}, which is not a number") from None


def _parsed(document: str | None) -> Any:
    return None if document is None else json.loads(document)
