"""Staging: memory that is reused from save to save, so that a capture costs one copy and no page fault."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from perdure.snapshot import codec
from perdure.snapshot.codec import Tensor


@dataclass(slots=True)
class Staging:
    """One buffer that holds the bytes of a set of arrays, in file order."""

    _buffer: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint8))
    _views: dict[tuple[Tensor, ...], list[np.ndarray]] = field(default_factory=dict)

    def copy(self, arrays: dict[str, np.ndarray]) -> tuple[Tensor, ...]:
        """Copy `arrays` in; returns their layout, counted from the buffer's start."""
        layout = codec.plan(arrays)
        views = self._views.get(layout)
        if views is None:
            views = self._prepare(layout)
        for tensor, view in zip(layout, views, strict=True):
            np.copyto(view, arrays[tensor.name])
        return layout

    def _prepare(self, layout: tuple[Tensor, ...]) -> list[np.ndarray]:
        size = sum(tensor.size for tensor in layout)
        if size > len(self._buffer):
            self._buffer = np.empty(size, np.uint8)
        self._views.clear()
        views = [
            self._buffer[t.start : t.start + t.size].view(codec.dtype_of(t.dtype)).reshape(t.shape)
            for t in layout
        ]
        self._views[layout] = views
        return views

    def bytes_of(self, layout: tuple[Tensor, ...]) -> memoryview:
        """The staged bytes of a whole layout."""
        return memoryview(self._buffer)[: sum(tensor.size for tensor in layout)]  # type: ignore[arg-type]
