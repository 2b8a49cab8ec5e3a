"""What the driver and its workers say to each other, on a pipe that only they hold.

This is the one place where pickle is used: between processes of our own, for as long as they live.
Nothing of it is stored. A read-only memory map travels as the place of its file and is opened again on the
other side, so that a matrix of gigabytes is sent to every worker for nothing.
"""

from __future__ import annotations

import io
import mmap
import pickle
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True)
class Reply:
    """A worker's answer to a call, or to being started (then `failure` says why it cannot work)."""

    value: object | None = None
    failure: str | None = None
    traceback: str = ""
    retryable: bool = True


def pack(message: object) -> bytes:
    """Give the bytes of a message; raises what pickle raises for what cannot be sent."""
    stream = io.BytesIO()
    _Pickler(stream, protocol=5).dump(message)
    return stream.getvalue()


def unpack(content: bytes) -> Any:
    """Give the message back; raises whatever its objects raise on being made."""
    return pickle.loads(content)  # noqa: S301 from a pipe to our own process


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        numpy = sys.modules.get("numpy")
        if numpy is None or not isinstance(value, numpy.ndarray):
            return NotImplemented
        mapped = value
        while isinstance(mapped, numpy.ndarray) and not isinstance(mapped, numpy.memmap):
            mapped = mapped.base
        if type(mapped) is not numpy.memmap:
            return NotImplemented
        place = _place(value, mapped)
        if place is not None:
            return _reopen, place
        return numpy.array(value).__reduce_ex__(5)


def _place(
    view: np.ndarray[Any, Any], mapped: np.memmap[Any, Any]
) -> tuple[str, int, np.dtype[Any], tuple[int, ...], str] | None:
    """Give file, offset, dtype, shape and order of a contiguous read-only view, None for any other."""
    import numpy as np

    contiguous = view.flags.c_contiguous or view.flags.f_contiguous
    memory = getattr(mapped, "_mmap", None)
    if mapped.mode != "r" or mapped.filename is None or memory is None or not contiguous or not view.size:
        return None
    # numpy keeps the first map's offset on every slice; the slice's own place is told by its address.
    start = mapped.offset - mapped.offset % mmap.ALLOCATIONGRANULARITY
    first = np.frombuffer(memory, np.uint8).__array_interface__["data"][0]
    offset = start + view.__array_interface__["data"][0] - first
    order = "C" if view.flags.c_contiguous else "F"
    return str(mapped.filename), offset, view.dtype, view.shape, order


def _reopen(
    path: str, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: str
) -> np.memmap[Any, Any]:
    import numpy as np

    return np.memmap(path, dtype, "r", offset, shape, "C" if order == "C" else "F")
