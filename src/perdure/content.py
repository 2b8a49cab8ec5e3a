"""Digests of arguments by content: equal content gives equal digests, in any process and on any machine.

Numbers, text, lists, dicts, sets, dates, dataclasses, arrays (mapped ones too), tables, functions (their
code) and paths (what the file or folder holds). An object may say for itself what it is by a method
`__perdure_fingerprint__() -> str`. Everything else raises UsageError.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import hashlib
import inspect
import io
import os
import struct
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.errors import UsageError
from perdure.source import closure_of, is_library

if TYPE_CHECKING:
    import numpy as np

FileKey = tuple[str, int, int, int]  # path, size, mtime_ns, inode
CHUNK = 1 << 22
MAX_DEPTH = 200
SETTLED_NS = 2_000_000_000  # a file this young may change again without a new modification time
SIMPLE = (
    datetime.date,
    datetime.time,
    datetime.timedelta,
    datetime.tzinfo,
    decimal.Decimal,
    fractions.Fraction,
    range,
    slice,
    uuid.UUID,
)
TENSOR_LIBRARIES = ("jax", "jaxlib", "torch", "tensorflow")


def digest_value(value: object, *, name: str, files: MutableMapping[FileKey, str] | None = None) -> str:
    """Give the SHA-256, in hex, of the content of the argument called `name`.

    `files` remembers the digests of files between calls. Raises UsageError for what has no content that
    can be told from outside.
    """
    return _digest(value, name, 0, files).hex()


def digest_file(path: Path, files: MutableMapping[FileKey, str] | None = None) -> str:
    """Give the SHA-256, in hex, of a file's bytes; read only if it changed since `files` remembered it."""
    with path.open("rb") as stream:
        found = os.fstat(stream.fileno())
        key = (str(path.resolve()), found.st_size, found.st_mtime_ns, found.st_ino)
        if files is not None and key in files:
            return files[key]
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if files is not None and time.time_ns() - found.st_mtime_ns > SETTLED_NS:
        files[key] = digest
    return digest


def unwrapped(function: Any) -> Any:
    """Give the plain function or class behind bound methods and decorators that kept `__wrapped__`."""
    return inspect.unwrap(getattr(function, "__func__", function))


def source_file(function: Any) -> Path | None:
    """Give the file that defines a function or class, None for builtins and what was typed in."""
    plain = unwrapped(function)
    if isinstance(plain, type):
        file = getattr(sys.modules.get(plain.__module__), "__file__", None)
    elif hasattr(plain, "__code__"):
        file = plain.__globals__.get("__file__")
    else:
        return None
    return Path(file).resolve() if isinstance(file, str) and file.endswith(".py") else None


def _digest(value: Any, at: str, depth: int, files: MutableMapping[FileKey, str] | None) -> bytes:
    if depth > MAX_DEPTH:
        raise _refusal(at, f"is nested more than {MAX_DEPTH} deep, or contains itself")
    own = getattr(type(value), "__perdure_fingerprint__", None)
    if own is not None:
        return _hash("own", str(own(value)).encode(errors="surrogatepass"))

    def inner(item: object, place: str) -> bytes:
        return _digest(item, f"{at}{place}", depth + 1, files)

    library = type(value).__module__.partition(".")[0]
    if library in ("numpy", "ml_dtypes", *TENSOR_LIBRARIES) and hasattr(value, "__array__"):
        return _digest_array(value, library, inner)
    if library in ("polars", "pandas", "pyarrow"):
        return _hash(f"table {library}", _parquet(value, library, at))
    scalar = _scalar(value)
    if scalar is not None:
        return scalar
    if isinstance(value, Path):
        return _digest_path(value, at, files)
    if isinstance(value, functools.partial):
        return _hash("partial", inner(value.func, ""), inner(value.args, ".args"), inner(value.keywords, ""))
    if callable(value) and (
        inspect.isroutine(value) or isinstance(value, type) or hasattr(value, "__wrapped__")
    ):
        return _digest_function(value, at, inner)
    return _digest_container(value, at, inner)


def _scalar(value: Any) -> bytes | None:
    if value is None or isinstance(value, bool):
        return _hash(repr(value))
    if isinstance(value, enum.Enum):
        return _hash("enum", f"{type(value).__qualname__}.{value.name}".encode())
    if isinstance(value, int):
        return _hash("int", hex(value).encode())
    if isinstance(value, float):
        return _hash("float", struct.pack(">d", value))
    if isinstance(value, complex):
        return _hash("complex", struct.pack(">dd", value.real, value.imag))
    if isinstance(value, str):
        return _hash("text", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes | bytearray | memoryview):
        return _hash("bytes", bytes(value))
    if isinstance(value, SIMPLE):
        return _hash(type(value).__name__, repr(value).encode())
    return None


def _digest_container(value: Any, at: str, inner: Callable[[object, str], bytes]) -> bytes:
    if isinstance(value, list | tuple):  # the same to a function that was given a recorded result
        return _hash("list", *(inner(item, f"[{i}]") for i, item in enumerate(value)))
    if isinstance(value, Mapping):
        pairs = [inner(key, " key") + inner(item, f"[{key!r}]") for key, item in value.items()]
        return _hash("dict", *sorted(pairs))
    if isinstance(value, AbstractSet):
        return _hash("set", *sorted(inner(item, " item") for item in value))
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        parts = [name.encode() + inner(item, f".{name}") for name, item in fields.items()]
        return _hash(f"dataclass {type(value).__qualname__}", *parts)
    raise _refusal(at, f"is a {type(value).__module__}.{type(value).__qualname__}")


def _digest_array(value: Any, library: str, inner: Callable[[object, str], bytes]) -> bytes:
    import numpy as np

    if library == "torch":
        value = value.detach().cpu()
    array = np.asarray(value)
    kind = f"{array.dtype.descr if array.dtype.names else array.dtype.str} {array.dtype.name} {array.shape}"
    if array.dtype.hasobject:
        return _hash(f"array {kind}", inner(array.tolist(), ""))
    total = hashlib.sha256()
    for rows in _rows(array):
        if rows.size and rows.itemsize:
            total.update(np.ascontiguousarray(rows).view(np.uint8).data)
    return _hash(f"array {kind}", total.digest())


def _rows(array: np.ndarray[Any, Any]) -> Iterator[np.ndarray[Any, Any]]:
    """Give an array in pieces of some megabytes: what is mapped from a file need not fit into memory."""
    if array.ndim == 0:
        yield array.reshape(1)
        return
    step = max(1, CHUNK // max(1, array.nbytes // max(1, len(array))))
    for start in range(0, len(array), step):
        yield array[start : start + step]


def _parquet(table: Any, library: str, at: str) -> bytes:
    """Give a table's content as bytes that do not depend on how it is chunked or on what nulls hide."""
    kind = type(table).__name__
    if library == "polars" and kind in ("DataFrame", "Series"):
        stream = io.BytesIO()
        frame = table.to_frame() if kind == "Series" else table
        frame.rechunk().write_parquet(stream, compression="uncompressed")
        return stream.getvalue()
    import pyarrow as pa
    import pyarrow.parquet as pq

    if library == "pandas" and kind in ("DataFrame", "Series"):
        table = pa.Table.from_pandas(table.to_frame() if kind == "Series" else table)
    if not isinstance(table, pa.Table):
        raise _refusal(at, f"is a {library}.{kind}")
    sink = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), sink, compression="none")
    return bytes(sink.getvalue())


def _digest_path(path: Path, at: str, files: MutableMapping[FileKey, str] | None) -> bytes:
    try:
        if not path.is_dir():
            return _hash("file", digest_file(path, files).encode())
        parts = [f"{name}\0{digest_file(path / name, files)}" for name in sorted(_files_below(path))]
        return _hash("folder", *(part.encode(errors="surrogatepass") for part in parts))
    except OSError as error:
        raise UsageError(
            f"argument {at}: {error.filename or path} cannot be read ({error.strerror}); a path counts as the "
            "content of its file or folder: give an existing one, or pass an output's place as str(path)"
        ) from error


def _files_below(folder: Path) -> Iterator[str]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            file = Path(place, name)
            if file.is_file():  # a link to nothing has no content, either
                yield file.relative_to(folder).as_posix()


def _digest_function(value: Any, at: str, inner: Callable[[object, str], bytes]) -> bytes:
    plain = unwrapped(value)
    name = f"{getattr(plain, '__module__', '')}.{getattr(plain, '__qualname__', '')}"
    owner = getattr(value, "__self__", None)
    bound = [] if owner is None or inspect.ismodule(owner) else [inner(owner, ".__self__")]
    file = source_file(value)
    if file is None:
        if getattr(plain, "__module__", None) == "__main__" or "<" in name:
            raise _refusal(at, f"is the function {name}, whose source is in no file")
        return _hash("function", name.encode(), *bound)
    if is_library(str(file.parent)):
        return _hash("function", name.encode(), *bound)
    code = [f"{part}={digest}".encode() for part, digest in closure_of(file).files.items()]
    qualname = plain.__qualname__  # not the module: a script's functions live in __main__ or not
    place = getattr(getattr(plain, "__code__", None), "co_firstlineno", 0) if "<lambda>" in qualname else 0
    return _hash("function", f"{qualname} {place}".encode(), *code, *bound)


def _refusal(at: str, what: str) -> UsageError:
    return UsageError(
        f"argument {at} {what}, whose content cannot be told from outside, so a change of it would go "
        'unseen; pass numbers, text, lists, arrays, tables or paths, or version="1" (and another one when it '
        "changes), or give its class a method __perdure_fingerprint__(self) -> str"
    )


def _hash(tag: str, *parts: bytes) -> bytes:
    total = hashlib.sha256(tag.encode())
    for part in parts:
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()
