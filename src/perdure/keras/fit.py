"""One durable `fit`: a loop over epochs that Keras drives and the run's track saves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from perdure.errors import UsageError
from perdure.keras import variables
from perdure.keras.call import FitCall
from perdure.keras.others import Others
from perdure.keras.variables import Attributes, Variables
from perdure.loop import Goal
from perdure.phase import Session
from perdure.seams import seam
from perdure.snapshot import streams
from perdure.snapshot.parts import Part
from perdure.snapshot.track import Snapshot, Track
from perdure.store.generations import Cursor

_NEVER = 1 << 30  # an initial epoch beyond any: Keras then trains nothing and ends the fit as usual
_SEED = "global seed generator"


@dataclass(slots=True, eq=False)
class Fit:
    """From `on_train_begin` to `on_train_end`."""

    session: Session
    track: Track
    call: FitCall
    others: Others
    goal: Goal | None
    variables: Variables = field(init=False)
    attributes: Attributes = field(init=False)
    position: int = 0  # complete epochs
    finished: bool = False
    left: str = "exception"  # Keras tells nobody how it was left, except by its end
    _complete: Snapshot | None = None  # the final one, when there was nothing left to train
    _pending: Snapshot | None = None  # to be restored in mid-epoch
    _first: int = 0  # batch at which this process began the epoch
    _batch: int = 0  # complete batches of the epoch
    _last: dict[str, np.ndarray] | None = None  # weights as the last epoch left them
    _checked: bool = False
    _began: float = 0.0

    def __post_init__(self) -> None:
        self.variables = Variables.of(self.call.model)
        self.attributes = Attributes.of(self.variables)

    @property
    def path(self) -> str:
        return self.track.loop

    @property
    def running(self) -> Any:
        return self.call.is_running

    @property
    def total(self) -> int:
        return self.call.epochs

    @property
    def first(self) -> int:
        """The batch at which this process began the epoch."""
        return self._first

    # -- on_train_begin ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Put everything back to the newest snapshot; save the beginning where there is none."""
        self._began = self.session.store.clock.monotonic()
        model = self.call.model
        model._initial_epoch = None
        with self.session.signals.deferred():
            snapshot = self.track.resume()
            if snapshot is None:
                self.position = self.call.initial_epoch
                self.session.console.say(
                    f"{self.path}: fresh start at epoch {self.position + 1} of {self.total}"
                )
                self._save(Cursor(self.position))  # initial weights need not be seeded
            else:
                self._resume(snapshot)
        self.session.signals.waits_for_save_point = self._complete is None

    def _resume(self, snapshot: Snapshot) -> None:
        self.position = snapshot.cursor.position
        if self.position > self.total:
            raise UsageError(
                f"{self.path!r} has trained {self.position} epochs already and is asked for {self.total}; ask for "
                f"{self.position} or more, or start over with --redo {self.path}"
            )
        stopped = bool(_document(snapshot, "loop")["stopped"])
        ends = (stopped or self.position >= self.total) and not snapshot.cursor.batch
        if snapshot.final and ends:
            self._complete = snapshot
        elif snapshot.cursor.batch:
            self._pending = snapshot
        self._restore(snapshot)
        if ends and self._complete is None:
            self._last = self.variables.copy("weights")
        self.call.model._initial_epoch = _NEVER if ends else self.position
        self._tell(snapshot, ends=ends)

    def _tell(self, snapshot: Snapshot, *, ends: bool) -> None:
        batch = f", batch {snapshot.cursor.batch + 1}" if snapshot.cursor.batch else ""
        if ends:
            what = f"complete after {self.position} epochs"
        else:
            what = f"resuming at epoch {self.position + 1} of {self.total}{batch}"
        self.session.console.say(f"{self.path}: {what} (generation {snapshot.number})")

    def _restore(self, snapshot: Snapshot) -> None:
        for name in variables.GROUPS:
            arrays, _ = snapshot.part(name)
            if name == "weights" and snapshot.final and self._complete is None:
                arrays = (
                    snapshot.part("last")[0] or arrays
                )  # more epochs than before: go on from the last one
            self.variables.restore(name, arrays, _document(snapshot, name))
        arrays, text = snapshot.part("attributes")
        self.attributes.restore(arrays, None if text is None else json.loads(text))
        arrays, _ = snapshot.part("callbacks")
        self.others.restore(arrays, _document(snapshot, "callbacks"))
        self._restore_streams(snapshot)
        self.call.model.stop_training = bool(_document(snapshot, "loop")["stopped"])

    def _restore_streams(self, snapshot: Snapshot) -> None:
        arrays, _ = snapshot.part("streams")
        if _SEED in arrays:
            variables.restore_global_seed(arrays[_SEED])
        streams.restore(arrays, _document(snapshot, "streams"))

    # -- epochs and batches --------------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int) -> None:
        """After all other callbacks, after metrics were reset, before the data's workers start."""
        self.call.model._initial_epoch = None  # Keras would begin the next fit there too
        self.position, self._first = epoch, 0
        if self._pending is not None:
            self._first = self._pending.cursor.batch
            # again: metrics were reset, and the others' hooks of the epoch's begin ran once more; data may look at them
            self._restore(self._pending)
            self.track.forget_unsaved()
        self._batch = self._first
        self.call.begin_epoch(epoch, self._first)

    def begin_batch(self, batch: int) -> None:
        """Between two batches: the state after `batch` batches of the epoch, and other callbacks' begin of the next."""
        seam("batch.begin")
        if self._pending is not None:
            # again: the iterator has drawn from streams, and the others' hooks of this batch's begin ran once more
            self._restore(self._pending)
            self._pending = None
            return
        for _ in range(batch - self._batch):
            self.track.batch_done()
        self._batch = batch
        if self.call.batches is None or batch == self._first:
            return
        if self.session.signals.requested is not None:
            self._stop(Cursor(self.position, 0, batch))
        if self.track.is_due(iteration_ended=False):
            self._save(Cursor(self.position, 0, batch))

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """After all other callbacks: the epoch counts."""
        seam("epoch.end")
        values = {name: _number(value) for name, value in logs.items()}
        self.track.log(values, position=epoch)
        self._offer_best(epoch, values)
        self.position, self._first = epoch + 1, 0
        if not self._checked:
            self.others.check_data()
            self._checked = True
        self.session.console.progress(self.path, self.position, self.total)
        if self.session.signals.requested is not None:
            self._stop(Cursor(self.position))
        if self.call.model.stop_training or self.position >= self.total:
            self._last = self.variables.copy("weights")
        elif self.track.is_due(iteration_ended=True):
            self._save(Cursor(self.position))

    def _save(self, cursor: Cursor, *, final: bool = False, wait: bool = False) -> None:
        self.variables.settle()  # what the device still computes is training, not saving
        self.track.save(cursor, self._parts, final=final, wait=wait)

    def _offer_best(self, epoch: int, values: Mapping[str, Any]) -> None:
        if self.goal is None:
            return
        value = values.get(self.goal.metric)
        if not isinstance(value, int | float):
            raise UsageError(
                f"best= looks at {self.goal.metric!r}, and the logs of epoch {epoch + 1} have "
                f"{', '.join(sorted(values))}; use one of these"
            )
        self.variables.settle()
        self.track.offer_best(
            float(value), position=epoch, parts=[self.variables.part("weights")], maximize=self.goal.maximize
        )

    def _stop(self, cursor: Cursor) -> None:
        """A signal asked for it: save and leave `fit`."""
        self.call.stop_workers()
        self.session.signals.waits_for_save_point = False
        self._save(cursor, wait=True)
        raise self.session.signals.stopped()

    # -- on_train_end --------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Keras has finished the weights and all callbacks are through: the fit is complete."""
        seam("fit.end")
        self.call.model._initial_epoch = None
        self.session.signals.waits_for_save_point = False
        with self.session.signals.deferred():
            self.finished = True
            if self._complete is not None:
                self._restore(self._complete)  # the end of `fit` has touched it again
            else:
                self.others.check_data()
                self._save(Cursor(self.position), final=True)
            phase = self.session.store.units.phase(self.path)
            if phase is None or phase.state != "completed":
                self.session.complete(self.path, seconds=self.session.store.clock.monotonic() - self._began)

    def abandon(self) -> None:
        """`fit` raised: nothing since the last save counts."""
        self.finished = True
        self.session.signals.waits_for_save_point = False

    # -- what the others use -------------------------------------------------------------------------------------

    def log(self, values: dict[str, object]) -> None:
        """`run.log` in another callback."""
        self.track.log(values, position=self.position)

    def restore_best(self) -> None:
        """Put the best epoch's weights into the model; random streams inside it stay where they are."""
        if self.track.best is None:
            raise UsageError(
                f"{self.path!r} has no best weights: pass Resume(run, best='max:val_auc') or the like"
            )
        arrays, document = self.track.best_part("weights")
        assert document is not None
        self.variables.restore("weights", arrays, json.loads(document), only=self.call.model.weights)

    def _parts(self) -> list[Part]:
        weights = self.variables.part("weights")
        parts = [
            weights,
            self.variables.part("optimizer"),
            self.variables.part("metrics"),
            self.others.part(),
        ]
        if (attributes := self.attributes.part()) is not None:
            parts.append(attributes)
        if self._last is not None and any(
            not np.array_equal(array, weights.tensors[name], equal_nan=True)
            for name, array in self._last.items()
        ):
            parts.append(Part("last", self._last))
        drawn = streams.capture(only=frozenset({"random", "numpy", self.variables.backend}))
        state = variables.global_seed_state()
        seeds = {} if state is None else {_SEED: self.variables._view(state.value)}
        parts.append(Part("streams", {**drawn.tensors, **seeds}, drawn.document))
        return [*parts, Part("loop", {}, {"stopped": bool(self.call.model.stop_training)})]


def _document(snapshot: Snapshot, part: str) -> Any:
    text = snapshot.header.documents[part]
    return json.loads(text)


def _number(value: Any) -> object:
    """A logged value as JSON keeps it."""
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)
