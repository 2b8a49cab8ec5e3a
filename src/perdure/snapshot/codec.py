"""The safetensors file format: eight bytes of length, a JSON header, then raw little-endian tensors without gaps.

Written here rather than through the library, so that headers and staged tensors go to the disk without a copy; the
library reads these files, and a test holds us to it.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import blake3
import numpy as np

from perdure.errors import DamagedError, StateError
from perdure.files import storage_error

_CODES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_NAMES = {code: name for name, code in _CODES.items()}
_DOCUMENT = "perdure"  # the key of our document in the header's `__metadata__`
_LARGEST_HEADER = 1 << 30


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor lies: `start` counts bytes from the end of the header."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    size: int


def dtype_name(array: np.ndarray, *, owner: str) -> str:
    """The array's type, if the format has it. Raises StateError naming `owner`."""
    name = _name_of(array.dtype)
    if name not in _CODES or not array.dtype.isnative:
        raise StateError(
            f"{owner} is an array of type {array.dtype}, which a snapshot cannot hold; "
            f"convert it to one of {', '.join(sorted(_CODES))}"
        )
    return name


@lru_cache(maxsize=64)  # NumPy composes the name anew each time
def _name_of(dtype: np.dtype) -> str:
    return dtype.name


def dtype_of(name: str) -> np.dtype:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # comes with JAX and TensorFlow, which alone make such arrays

        kind: np.dtype = np.dtype(getattr(ml_dtypes, name))
        return kind


def plan(arrays: dict[str, np.ndarray], *, start: int = 0) -> tuple[Tensor, ...]:
    """Lay tensors out one after the other from `start` on, large items first so that they stay aligned."""
    return _plan(
        tuple((name, dtype_name(a, owner=name), a.shape, a.nbytes) for name, a in arrays.items()), start
    )


@lru_cache(maxsize=64)  # a loop's layout is the same at every save
def _plan(arrays: tuple[tuple[str, str, tuple[int, ...], int], ...], start: int) -> tuple[Tensor, ...]:
    placed = []
    for name, dtype, shape, size in sorted(arrays, key=lambda a: (-dtype_of(a[1]).itemsize, a[0])):
        placed.append(Tensor(name, dtype, shape, start, size))
        start += size
    return tuple(placed)


def header(tensors: Sequence[Tensor], document: str) -> bytes:
    """The file's beginning, padded so that the tensors start at a multiple of eight bytes."""
    entries: dict[str, object] = {"__metadata__": {_DOCUMENT: document, "digest": _digest(document)}}
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [tensor.start, tensor.start + tensor.size],
        }
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _digest(document: str) -> str:
    return blake3.blake3(document.encode()).hexdigest()


def read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Tensors (memory-mapped, read-only) and the document.

    Raises DamagedError for anything that is not such a file.
    """
    try:
        return _read(path)
    except OSError as error:
        raise storage_error(error, path) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, struct.error) as error:
        raise DamagedError(f"{path} is not a readable snapshot ({type(error).__name__}: {error})") from error


def _read(path: Path) -> tuple[dict[str, np.ndarray], str]:
    size = path.stat().st_size
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > min(size - 8, _LARGEST_HEADER):
            raise ValueError(f"the header claims {length} bytes of {size}")
        entries = json.loads(stream.read(length))
    metadata = entries.pop("__metadata__")
    document: str = metadata[_DOCUMENT]
    if metadata["digest"] != _digest(document):
        raise ValueError("the header does not match its digest")
    body = (
        np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
        if size > 8 + length
        else np.empty(0, np.uint8)
    )
    return {name: _view(body, entry) for name, entry in entries.items()}, document


def _view(body: np.ndarray, entry: dict[str, Any]) -> np.ndarray:
    start, stop = entry["data_offsets"]
    dtype, shape = dtype_of(_NAMES[entry["dtype"]]), tuple(entry["shape"])
    if (
        not 0 <= start <= stop <= len(body)
        or stop - start != int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    ):
        raise ValueError(f"a tensor at bytes {start} to {stop} does not fit its shape or the file")
    return body[start:stop].view(dtype).reshape(shape)
