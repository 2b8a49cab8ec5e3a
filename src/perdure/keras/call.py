"""The running call of `model.fit`: its arguments, its data, and where its first epoch begins.

Keras tells a callback none of this, so it is read from the frame of `fit`; the names used are checked first.
"""

from __future__ import annotations

import itertools
import queue
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import keras

from perdure.errors import UsageError
from perdure.keras import compatibility
from perdure.keras.architecture import describe_arguments, describe_data
from perdure.keras.batches import Batches, leaves
from perdure.source import PIPELINES, is_library

_DECIDING = (
    "batch_size", "shuffle", "class_weight", "initial_epoch", "steps_per_epoch", "validation_steps",
    "validation_batch_size", "validation_freq",
)  # fmt: skip
_ARRAYS = ("x", "y", "sample_weight", "val_x", "val_y", "val_sample_weight")


@dataclass(slots=True)
class FitCall:
    """One call of `fit`, seen from its callbacks."""

    model: Any
    iterator: Any  # Keras's EpochIterator
    batches: Batches | None  # None for plain arrays
    epochs: int
    initial_epoch: int
    steps: tuple[
        int | None, int | None
    ]  # batches of a whole epoch: of the data, and as `steps_per_epoch` says
    _streaming: bool = False

    @classmethod
    def of(cls, model: Any, frame: FrameType) -> FitCall:
        """Raises UsageError for data whose position cannot be captured."""
        iterator = frame.f_locals["epoch_iterator"]
        compatibility.check_names(model, iterator)
        adapter = iterator.data_adapter
        batches = getattr(adapter, "py_dataset", None)
        if type(adapter).__name__ != "ArrayDataAdapter" and not isinstance(batches, Batches):
            given = type(frame.f_locals.get("x")).__name__
            raise UsageError(
                f"fit gets a {given}, whose position cannot be captured; pass arrays (exact at the ends of epochs) or "
                "perdure.keras.Batches (exact at any batch)"
            )
        if batches is not None and frame.f_locals.get("val_x") is batches:
            raise UsageError("the same Batches are training and validation data; make two objects")
        _check_validation(frame.f_locals.get("val_x"))
        if batches is None:
            _check_steps(iterator)
        call = cls(
            model, iterator, batches, int(frame.f_locals["epochs"]), int(frame.f_locals["initial_epoch"] or 0),
            (iterator._num_batches, iterator.steps_per_epoch),
        )  # fmt: skip
        call._check_order(frame)
        call._keep_order()
        return call

    def _check_order(self, frame: FrameType) -> None:
        """TensorFlow shuffles plain arrays inside the graph, from a seed that must be known."""
        tensorflow = sys.modules.get("tensorflow")
        if self.batches is not None or not frame.f_locals.get("shuffle") or tensorflow is None:
            return
        from tensorflow.python.eager import context

        if keras.backend.backend() == "tensorflow" and context.context()._seed is None:
            raise UsageError(
                "fit(shuffle=True) on TensorFlow without a seed has an order that cannot be captured; import keras "
                "before perdure.open(..., seed=...), or call keras.utils.set_random_seed, or use perdure.keras.Batches"
            )

    def _keep_order(self) -> None:
        """`fit` shuffles a finite dataset's batches by default; Batches have an order of their own."""
        if self.batches is not None:
            adapter = self.iterator.data_adapter
            adapter.shuffle = False
            if adapter.enqueuer is not None:
                adapter.enqueuer.shuffle = False

    def build(self) -> None:
        """TensorFlow builds models in the first step; build now, so that there is something to restore into."""
        if keras.backend.backend() != "tensorflow":
            return
        adapter = self.iterator.data_adapter
        if self.batches is not None:
            batch = adapter._standardize_batch(self.batches[0])
        else:
            batch = next(iter(self.iterator._distributed_dataset))
        self.model._symbolic_build(data_batch=batch)

    def begin_epoch(self, epoch: int, first: int) -> None:
        """Let the epoch begin at batch `first`. Must run before the epoch's iterator and workers start."""
        of_data, given = self.steps
        if self.batches is None:
            return
        self._forget_prefetched(of_stream=given is not None)
        self.batches.begin(epoch=epoch, first=first)
        if given is None:
            self.iterator._num_batches = None if of_data is None else of_data - first
            return
        self.iterator.steps_per_epoch = given - first
        if not self._streaming:
            self._streaming = True
            self.batches.begin_stream(epoch * given + first)

    def _forget_prefetched(self, *, of_stream: bool) -> None:
        """With several workers Keras leaves batches from a look at the data in the queue, and would train on them."""
        enqueuer = self.iterator.data_adapter.enqueuer
        if enqueuer is None or (of_stream and self._streaming):
            return
        enqueuer.stop()
        with_left = True
        while with_left:
            try:
                enqueuer.ready_queue.get_nowait()
            except queue.Empty:
                with_left = False
        if of_stream:
            enqueuer.indices = itertools.count()

    def stop_workers(self) -> None:
        enqueuer = getattr(self.iterator.data_adapter, "enqueuer", None)
        if enqueuer is not None:
            enqueuer.stop()

    def is_running(self) -> object | None:
        """This call, as long as its frame is on the stack of the calling thread."""
        running = any(frame.f_locals["epoch_iterator"] is self.iterator for frame in _frames_of_fit())
        return self if running else None

    def describe(self, frame: FrameType) -> dict[str, object]:
        """The data and the arguments that decide what this fit gives, for the fingerprint."""
        found = describe_arguments({name: frame.f_locals.get(name) for name in _DECIDING})
        found["fit steps_per_execution"] = self.iterator.steps_per_execution
        if self.batches is not None:
            found |= {f"Batches {name}": value for name, value in self.batches.description().items()}
            for name, value in self.batches.data.items():
                found |= describe_data(f"data {name}", value)
        for name in _ARRAYS:
            value = frame.f_locals.get(name)
            if isinstance(value, Batches):
                for part, data in value.data.items() if value is not self.batches else ():
                    found |= describe_data(f"data {name}.{part}", data)
            elif value is not None:
                found |= describe_data(f"data {name}", value)
        return found


def _check_steps(iterator: Any) -> None:
    """Raises UsageError where Keras goes on with one pass over plain arrays from epoch to epoch."""
    given, whole = iterator.steps_per_epoch, iterator._num_batches
    if given is None or (given == whole and keras.backend.backend() == "jax"):
        return
    raise UsageError(
        f"steps_per_epoch={given} keeps one pass over plain arrays ({whole} batches) open from epoch to epoch, whose "
        "position cannot be captured; leave it out, or pass perdure.keras.Batches(x, y, batch_size=..., infinite=True)"
    )


def _check_validation(x: Any) -> None:
    """Raises UsageError for validation data that may go on from epoch to epoch, as a generator does."""
    for leaf in () if isinstance(x, Batches) else leaves(x):
        if not hasattr(leaf, "shape"):
            raise UsageError(
                f"validation_data holds a {type(leaf).__name__}, whose position cannot be captured; pass arrays or "
                "perdure.keras.Batches(x, y, batch_size=..., shuffle=False)"
            )


def frame_of_fit() -> FrameType:
    """Raises UsageError where no `fit` is running."""
    for frame in _frames_of_fit():
        return frame
    raise UsageError("Resume works inside model.fit(..., callbacks=[..., Resume(run)]) only")


def _frames_of_fit() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fit" and "epoch_iterator" in frame.f_locals:
            yield frame
        frame = frame.f_back


def caller_of(frame: FrameType) -> FrameType:
    """The user's code that called `fit`: the innermost frame outside of libraries."""
    outer = frame.f_back
    while outer is not None:
        file = Path(outer.f_code.co_filename)
        if file.is_file() and (file.is_relative_to(PIPELINES) or not is_library(str(file.resolve().parent))):
            return outer
        outer = outer.f_back
    return frame.f_back or frame


def callback_list() -> Any:
    """The list of callbacks that is being set up, or None."""
    from keras.callbacks import CallbackList

    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        found = frame.f_locals.get("self")
        if isinstance(found, CallbackList):
            return found
        frame = frame.f_back
    return None
