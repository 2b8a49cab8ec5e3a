"""`Resume`: the callback that makes `model.fit` go on where it was killed, and end with the same bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import keras

from perdure.errors import UsageError
from perdure.fingerprint import Fingerprint
from perdure.keras import compatibility
from perdure.keras.architecture import describe_model
from perdure.keras.call import FitCall, callback_list, caller_of, frame_of_fit
from perdure.keras.fit import Fit
from perdure.keras.others import Others
from perdure.loop import Goal
from perdure.phase import Session, place_of
from perdure.run import Run
from perdure.seams import seam
from perdure.snapshot.policy import EachIteration, Every, policy_of
from perdure.snapshot.streams import seed_for


class Resume(keras.callbacks.Callback):  # type: ignore[misc]
    """One callback in the place of BackupAndRestore: `model.fit(..., callbacks=[..., Resume(run)])`.

    It saves and restores weights, optimizer, metrics, the state of all other callbacks, history and random streams.
    A fit that was complete trains nothing on a rerun and gives back its final state and its whole history. Its place
    among the callbacks does not matter. Files that other callbacks write (ModelCheckpoint, CSVLogger) are theirs.

    name: the phase; a second fit with the same callback is "fit-2", or give another Resume another name.
    every: None saves after each epoch, "30s" after that time, 500 after so many training steps, a tuple whichever
        comes first. All but None need `perdure.keras.Batches` as training data.
    best: "max:val_auc" or "min:val_loss": the weights of the best epoch are kept; see `restore_best`.
    version: stands in for the source of the code that calls `fit`, where there is none (a notebook).
    untested: go on with versions of Keras and its backend for which an exact resume was not tested.

    Raises UsageError for other versions, and, when `fit` begins, for data whose position cannot be captured;
    ChangedError when the model, the data or the code are others than those that were saved.
    """

    def __init__(
        self,
        run: Run,
        *,
        name: str = "fit",
        every: Every = None,
        best: str | None = None,
        version: str | None = None,
        untested: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(run, Run):
            raise UsageError(f"Resume got a {type(run).__name__}; give it what perdure.open returned")
        if not untested:
            compatibility.check_installed()
        self._run, self._name, self._every, self._version = run, name, every, version
        self._saves_within_epochs = not isinstance(policy_of(every), EachIteration)
        self._goal = Goal.of(best)
        self._fits = 0
        self._fit: Fit | None = None
        self._list: Any = None

    # -- what a script uses --------------------------------------------------------------------------------------

    def restore_best(self) -> None:
        """Put the weights of the best epoch of the last fit into the model."""
        self._known().restore_best()

    @property
    def best_value(self) -> float | None:
        """The best value of the metric so far."""
        best = self._known().track.best
        return best.value if best else None

    @property
    def best_epoch(self) -> int | None:
        """The epoch that reached it, counted from 0."""
        best = self._known().track.best
        return best.position if best else None

    def _known(self) -> Fit:
        if self._fit is None:
            raise UsageError(f"the fit {self._name!r} has not begun; pass this callback to model.fit first")
        return self._fit

    # -- what Keras calls ----------------------------------------------------------------------------------------

    def set_model(self, model: Any) -> None:
        """Come last, whatever the user's order: after resets at the beginning, after History at an epoch's end."""
        super().set_model(model)
        self._list = callback_list()
        if self._list is not None:
            others = [callback for callback in self._list.callbacks if callback is not self]
            self._list.callbacks = [*others, self]  # a new list: Keras is iterating over the old one
            if any(getattr(callback, "async_safe", False) for callback in others):
                self._list._async_train = (
                    False  # a save would overtake a thread that tells them of the last batch
                )

    def on_train_begin(self, logs: Any = None) -> None:
        compatibility.check_distribution()
        frame = frame_of_fit()
        call = FitCall.of(self._model, frame)
        self._check_policy(call)
        call.build()
        self._fits += 1
        name = self._name if self._fits == 1 else f"{self._name}-{self._fits}"
        caller = caller_of(frame)
        session, track = self._run.enter_loop(
            name, call.epochs, every=self._every, place=place_of(caller),
            fingerprint=lambda session: self._fingerprint(session, call, frame, caller),
        )  # fmt: skip
        if call.batches is not None:
            call.batches.default_seed(seed_for(self._run.seed or 0, track.loop))
        others = Others.of([c for c in self._list.callbacks if c is not self], session.console.say)
        self._fit = Fit(session, track, call, others, self._goal)
        self._run.enter_scope(self._fit)
        seam("fit.begin")
        self._fit.start()

    def _check_policy(self, call: FitCall) -> None:
        if self._saves_within_epochs and call.batches is None:
            raise UsageError(
                f"every={self._every!r} saves within epochs, and the position in plain arrays cannot be captured; "
                "pass perdure.keras.Batches(x, y, batch_size=...) to fit, or leave every= out"
            )
        if any(isinstance(c, Resume) and c is not self for c in self._list.callbacks):
            raise UsageError("fit has two Resume callbacks; one is enough")

    def _fingerprint(
        self, session: Session, call: FitCall, frame: FrameType, caller: FrameType
    ) -> Fingerprint:
        """Of the calling module, the model, the data and the arguments of `fit`."""
        base = session.fingerprint_caller(caller, version=self._version)
        return dataclasses.replace(
            base, config={**base.config, **describe_model(self._model), **call.describe(frame)}
        )

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._known().begin_epoch(epoch)
        self._number_batches(self._known().first)

    def _number_batches(self, first: int) -> None:
        """In an epoch that was left after `first` batches Keras counts from 0; callbacks are told the real numbers."""
        for name in ("on_train_batch_begin", "on_train_batch_end"):
            vars(self._list).pop(name, None)
            if first:
                setattr(self._list, name, partial(_tell_later, getattr(self._list, name), first))

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self._known().begin_batch(batch)

    def on_test_begin(self, logs: Any = None) -> None:
        seam("validation.begin")

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._known().end_epoch(epoch, logs or {})

    def on_train_end(self, logs: Any = None) -> None:
        self._known().end()


def _tell_later(tell: Callable[..., None], first: int, batch: int, logs: Any = None) -> None:
    tell(first + batch, logs)
