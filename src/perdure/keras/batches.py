"""Training data whose order is a pure function of seed, epoch and position, so that any batch can be the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from perdure.errors import UsageError
from perdure.snapshot.streams import seed_for

Augment = Callable[[Any, Any, int, np.ndarray], tuple[Any, Any]]
Sampler = Callable[[int], np.ndarray]


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of `x` and `y` for `model.fit`, exact at any batch of any epoch.

    x, y, sample_weight: arrays, memory maps, anything with a length that an array of int64 indices can index; or
        dicts, lists and tuples of these. `y` may be None.
    seed: of the order; None takes the run's seed and the phase's name.
    shuffle: another order in each epoch; False keeps that of `x`.
    augment: called with (batch of x, batch of y, epoch, rows (batch,) int64); returns x and y. It must depend on
        nothing else, and may be called in several threads.
    sampler: called with the epoch; returns the rows to show, in order (the same number in each epoch).
    infinite: a stream for `fit(steps_per_epoch=...)`; `epoch` is then the pass over the data.
    drop_last: leave out a last batch that is not full.
    workers: threads that prepare batches ahead.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int,
        seed: int | None = None,
        shuffle: bool = True,
        augment: Augment | None = None,
        sampler: Sampler | None = None,
        sample_weight: Any = None,
        infinite: bool = False,
        drop_last: bool = False,
        workers: int = 1,
        max_queue_size: int = 10,
    ) -> None:
        super().__init__(workers=workers, use_multiprocessing=False, max_queue_size=max_queue_size)
        self._data = {"x": x, "y": y, "sample_weight": sample_weight}
        self.rows = _count_rows(self._data)
        self.batch_size, self.seed, self.shuffle = batch_size, seed, shuffle
        self._augment, self._sampler = augment, sampler
        self.infinite, self.drop_last = infinite, drop_last
        self._default_seed = 0
        self._order: tuple[int, np.ndarray] | None = None
        self._epoch, self._first = 0, 0  # of a finite pass
        self._base = 0  # of a stream: how many batches came before its first
        if batch_size < 1 or not self.rows:
            raise UsageError(
                f"Batches of {batch_size} from {self.rows} rows are not possible; use positive numbers"
            )
        shown = self.rows if sampler is None else len(self.order(0))
        self._length = shown // batch_size if drop_last else -(-shown // batch_size)

    # -- what Keras asks for -------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Batches of a whole pass."""
        return self._length

    @property
    def num_batches(self) -> int | None:
        return None if self.infinite else self._length - self._first

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """The batch `index` places after the one that this epoch begins at."""
        if self.infinite:
            epoch, batch = divmod(self._base + index, self._length)
        else:
            epoch, batch = self._epoch, self._first + index
        rows = self.order(epoch)[batch * self.batch_size : (batch + 1) * self.batch_size]
        x, y, weight = (_take(self._data[name], rows) for name in ("x", "y", "sample_weight"))
        if self._augment is not None:
            x, y = self._augment(x, y, epoch, rows)
        if weight is not None:
            return x, y, weight
        return (x,) if y is None else (x, y)

    # -- order ---------------------------------------------------------------------------------------------------

    def order(self, epoch: int) -> np.ndarray:
        """The rows of an epoch, in order: (rows,) int64."""
        known = self._order
        if known is None or known[0] != epoch:
            known = self._order = (epoch, self._ordered(epoch))
        return known[1]

    def _ordered(self, epoch: int) -> np.ndarray:
        if self._sampler is not None:
            rows = np.asarray(self._sampler(epoch))
            if rows.ndim != 1 or rows.dtype.kind not in "iu":
                raise UsageError(
                    f"sampler={self._sampler!r} returned {rows.dtype} {rows.shape} for epoch {epoch}; "
                    "return a one-dimensional array of row numbers"
                )
            known = getattr(self, "_length", None)
            if known is not None and -(-len(rows) // self.batch_size) < known:
                raise UsageError(
                    f"the sampler returned {len(rows)} rows for epoch {epoch}, too few for {known} batches; "
                    "return the same number in each epoch"
                )
            return rows.astype(np.int64)
        if not self.shuffle:
            return np.arange(self.rows, dtype=np.int64)
        seed = self._default_seed if self.seed is None else self.seed
        key = seed_for(seed, epoch, "order")
        return np.random.Generator(np.random.Philox(key=key)).permutation(self.rows)

    # -- what Resume sets ----------------------------------------------------------------------------------------

    def default_seed(self, seed: int) -> None:
        """The seed to use where none was given."""
        self._default_seed, self._order = seed, None

    def begin(self, *, epoch: int, first: int) -> None:
        """The next pass is that of `epoch` and begins at batch `first`."""
        self._epoch, self._first = epoch, first

    def begin_stream(self, base: int) -> None:
        """The stream goes on after `base` batches."""
        self._base = base

    def description(self) -> dict[str, object]:
        """What decides the batches, apart from the data and from code."""
        return {
            "rows": self.rows, "batch_size": self.batch_size, "seed": self.seed, "shuffle": self.shuffle,
            "augment": _name(self._augment), "sampler": _name(self._sampler), "infinite": self.infinite,
            "drop_last": self.drop_last,
        }  # fmt: skip

    @property
    def data(self) -> Mapping[str, Any]:
        """x, y and sample_weight as they were given."""
        return self._data


def _count_rows(data: Mapping[str, Any]) -> int:
    counts = {name: len(leaf) for name, value in data.items() for leaf in leaves(value)}
    lengths = sorted({len(leaf) for value in data.values() for leaf in leaves(value)})
    if len(lengths) != 1:
        raise UsageError(f"Batches needs as many rows in y and sample_weight as in x; it got {counts}")
    return lengths[0]


def leaves(value: Any) -> list[Any]:
    """The arrays in a dict, list or tuple, in order; none for None."""
    if value is None:
        return []
    if isinstance(value, Mapping):
        return [leaf for name in sorted(value) for leaf in leaves(value[name])]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def _take(value: Any, rows: np.ndarray) -> Any:
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {name: _take(item, rows) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_take(item, rows) for item in value)
    return value[rows]


def _name(function: Any) -> str | None:
    if function is None:
        return None
    return str(getattr(function, "__qualname__", type(function).__qualname__))
