"""Values that steps and units return, in the form that outlives the process.

A value becomes one canonical JSON document (sorted keys, no spaces) and, for what is large, blobs: files
named by their digest. What JSON lacks is an object with one key that starts with `$`:

    {"$float":HEX}                 not finite; the 8 bytes, so that the bits of a NaN survive
    {"$int":HEX}                   beyond 64 bits
    {"$complex":[HEX,HEX]}  {"$path":TEXT}  {"$text":BASE64}   (text with lone surrogates)
    {"$bytes":BASE64}              or {"$bytes":{"blob":DIGEST}}, a .bin file
    {"$array":{"npy":BASE64}}      or {"$array":{"blob":DIGEST}}, an .npy file; "view" names an ml_dtypes type
    {"$table":{"blob":DIGEST,"kind":"polars.DataFrame"}}        a Parquet file
    {"$dict":[[KEY,VALUE],...]}    a dict that would look like one of these

Nothing here can execute code. A dict comes back with its keys sorted, a tuple as a list, and arrays
read-only, whatever their size.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import io
import json
import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perdure.errors import FormatError, StateError

if TYPE_CHECKING:
    import numpy as np

INLINE_BYTES = 16 * 1024  # below this a row of the database is cheaper than a file
MAX_DEPTH = 200  # far below where Python's own recursion ends, on the way back too

TABLE_KINDS = ("polars.DataFrame", "pandas.DataFrame", "pyarrow.Table")
HINTS = {
    "set": "sorted(value)",
    "frozenset": "sorted(value)",
    "bytearray": "bytes(value)",
    "memoryview": "bytes(value)",
    "datetime": "value.isoformat()",
    "date": "value.isoformat()",
    "generator": "list(value)",
    "LazyFrame": "value.collect()",
    "Series": "value.to_frame()",
    "MaskedArray": "value.filled() and its mask",
    "Tensor": "value.detach().cpu().numpy()",
    "EagerTensor": "value.numpy()",
    "ArrayImpl": "numpy.asarray(value)",
}


@dataclass(frozen=True, slots=True)
class Blob:
    """An immutable file: `digest` is the SHA-256 of `content`, in hex; `suffix` is its kind (".npy")."""

    digest: str
    suffix: str
    content: bytes | memoryview


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value's document, the document's SHA-256, and the blobs it names."""

    document: str
    digest: str
    blobs: tuple[Blob, ...]


def encode(value: object) -> Encoded:
    """Give the durable form of `value`; equal values have equal digests.

    Raises StateError naming the type and the place within the value for what cannot be kept.
    """
    blobs: dict[tuple[str, str], Blob] = {}
    tree = _encode(value, "result", 0, blobs)
    document = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return Encoded(document, hashlib.sha256(document.encode()).hexdigest(), tuple(blobs.values()))


def decode(document: str, locate: Callable[[str, str], Path]) -> object:
    """Give the value back; `locate(digest, suffix)` returns the verified file of a blob.

    Large arrays are memory-mapped from their file. Raises FormatError for a document that this version
    did not write.
    """
    return _decode(json.loads(document), locate)


def blobs_of(document: str) -> list[tuple[str, str]]:
    """Give digest and suffix of each file that a document refers to."""
    found: list[tuple[str, str]] = []
    pending = [json.loads(document)]
    while pending:
        tree = pending.pop()
        if isinstance(tree, list):
            pending += tree
        elif isinstance(tree, dict):
            pending += tree.values()
            found += [
                (body["blob"], suffix)
                for escape, suffix in (("$array", ".npy"), ("$table", ".parquet"), ("$bytes", ".bin"))
                if isinstance(body := tree.get(escape), dict) and "blob" in body
            ]
    return found


# --- to the document ---------------------------------------------------------------------------------------


def _encode(value: object, at: str, depth: int, blobs: dict[tuple[str, str], Blob]) -> object:
    if depth > MAX_DEPTH:
        raise StateError(
            f"{at[:60]}...: nested more than {MAX_DEPTH} deep, or contains itself; return a flatter value"
        )
    kind = _kind(value)
    if kind.startswith("numpy.") or "ml_dtypes" in kind:
        return _encode_numpy(value, at, depth, blobs)
    if kind in TABLE_KINDS:
        content = _parquet(value, kind, at)
        return {"$table": {"blob": _put(blobs, content, ".parquet"), "kind": kind}}
    if isinstance(value, dict):
        return _encode_dict(value, at, depth, blobs)
    if isinstance(value, list | tuple):
        return [_encode(item, f"{at}[{i}]", depth + 1, blobs) for i, item in enumerate(value)]
    if isinstance(value, bytes):
        if len(value) > INLINE_BYTES:
            return {"$bytes": {"blob": _put(blobs, bytes(value), ".bin")}}
        return {"$bytes": _base64(value)}
    return _encode_scalar(value, at)


def _encode_scalar(value: object, at: str) -> object:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        number = int.__int__(value)  # an IntEnum becomes its number
        return number if -(1 << 63) <= number < 1 << 64 else {"$int": hex(number)}
    if isinstance(value, float):
        return float.__float__(value) if math.isfinite(value) else {"$float": _bits(value)}
    if isinstance(value, complex):
        return {"$complex": [_bits(value.real), _bits(value.imag)]}
    if isinstance(value, str):
        return _encode_text(str.__str__(value))
    if isinstance(value, Path):
        return {"$path": _encode_text(str(value))}
    raise _refusal(value, at)


def _encode_text(text: str) -> object:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON would join two lone surrogates into one character
        return {"$text": _base64(text.encode("utf-8", "surrogatepass"))}
    return text


def _encode_dict(value: dict[Any, object], at: str, depth: int, blobs: dict[tuple[str, str], Blob]) -> object:
    pairs: dict[str, object] = {}
    for key, item in value.items():
        if not isinstance(key, str):
            raise StateError(
                f"{at} has the key {key!r} of type {type(key).__name__}; a result's dicts have str keys: "
                "return {str(key): value} or a list of pairs"
            )
        pairs[str.__str__(key)] = _encode(item, f"{at}[{str(key)!r}]", depth + 1, blobs)
    if all(not key.startswith("$") and isinstance(_encode_text(key), str) for key in pairs):
        return pairs
    return {"$dict": [[_encode_text(key), pairs[key]] for key in sorted(pairs)]}


def _encode_numpy(value: Any, at: str, depth: int, blobs: dict[tuple[str, str], Blob]) -> object:
    import numpy as np

    if isinstance(value, np.generic):
        item = value.item()
        if isinstance(item, bool | int | float | complex | str | bytes) and value.dtype.kind not in "mM":
            return _encode(item, at, depth, blobs)
        value = np.asarray(value)  # dates, long doubles and records keep their dtype
    if type(value) not in (np.ndarray, np.memmap):
        raise _refusal(value, at)
    document: dict[str, object] = {}
    array = value
    if array.dtype.type.__module__ == "ml_dtypes":
        document["view"] = array.dtype.name
        array = array.view(f"u{array.dtype.itemsize}")
    _check_dtype(array.dtype, at)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=(3, 0), allow_pickle=False)
    if array.nbytes <= INLINE_BYTES:
        return {"$array": document | {"npy": _base64(stream.getvalue())}}
    return {"$array": document | {"blob": _put(blobs, stream.getbuffer(), ".npy")}}


def _check_dtype(dtype: np.dtype[Any], at: str) -> None:
    """Refuse dtypes that an .npy file without pickle would lose."""
    import numpy as np

    if dtype.hasobject or dtype.kind == "T":
        raise StateError(
            f"{at} is an array of dtype {dtype}, which holds Python objects; return numbers, a fixed-width "
            "text dtype such as array.astype('U16'), or array.tolist()"
        )
    if np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(dtype)) != dtype:
        raise StateError(
            f"{at} is an array of dtype {dtype}, which .npy files cannot hold; return its fields"
        )


def _parquet(table: Any, kind: str, at: str) -> bytes | memoryview:
    """Write a table as Parquet: the same rows, order and types give the same bytes, however chunked."""
    try:
        return _parquet_polars(table, at) if kind == "polars.DataFrame" else _parquet_arrow(table, kind, at)
    except StateError:
        raise
    except Exception as error:  # the libraries' own trees of errors; the user needs one
        raise StateError(
            f"{at} is a {kind} that Parquet cannot hold ({type(error).__name__}: {error}); "
            "return columns of numbers, text or dates"
        ) from error


def _parquet_polars(table: Any, at: str) -> memoryview:
    import polars as pl

    stream = io.BytesIO()
    table.rechunk().write_parquet(stream, compression="zstd", row_group_size=1 << 18)
    stream.seek(0)
    kept = pl.read_parquet_schema(stream)
    for name, dtype in table.schema.items():
        if kept.get(name) != dtype:
            raise StateError(
                f"{at}: column {name!r} of type {dtype} would come back from Parquet as {kept.get(name)}; "
                "cast it first"
            )
    return stream.getbuffer()


def _parquet_arrow(table: Any, kind: str, at: str) -> memoryview:
    import pyarrow as pa
    import pyarrow.parquet as pq

    if kind == "pandas.DataFrame":
        table = pa.Table.from_pandas(table)
    sink = pa.BufferOutputStream()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=1 << 18)
    content = sink.getvalue()
    kept = pq.read_schema(pa.BufferReader(content))
    for column in table.schema:
        if not kept.field(column.name).equals(column):
            raise StateError(
                f"{at}: column {column.name!r} of type {column.type} would come back from Parquet as "
                f"{kept.field(column.name).type}; cast it first"
            )
    return memoryview(content)


def _put(blobs: dict[tuple[str, str], Blob], content: bytes | memoryview, suffix: str) -> str:
    digest = hashlib.sha256(content).hexdigest()
    blobs.setdefault((digest, suffix), Blob(digest, suffix, content))
    return digest


def _kind(value: object) -> str:
    """Give "library.Class"; by name, so that no library is imported to ask whether a value is its own."""
    return f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"


def _refusal(value: object, at: str) -> StateError:
    hint = HINTS.get(type(value).__name__)
    if hint is None and hasattr(type(value), "__dataclass_fields__"):
        hint = "dataclasses.asdict(value)"
    return StateError(
        f"{at} is a {type(value).__module__}.{type(value).__qualname__}, which cannot be recorded; return "
        f"{hint or 'its numbers, text, lists, dicts, arrays or tables'} instead"
    )


def _bits(number: float) -> str:
    return struct.pack(">d", number).hex()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


# --- and back ----------------------------------------------------------------------------------------------


def _decode(tree: Any, locate: Callable[[str, str], Path]) -> object:
    if isinstance(tree, list):
        return [_decode(item, locate) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if len(tree) != 1 or not next(iter(tree)).startswith("$"):
        return {key: _decode(item, locate) for key, item in tree.items()}
    ((escape, body),) = tree.items()
    match escape:
        case "$dict":
            return dict(_decode_pairs(body, locate))
        case "$array":
            return _decode_array(body, locate)
        case "$table":
            return _decode_table(body, locate)
        case "$bytes" if isinstance(body, dict):
            return locate(body["blob"], ".bin").read_bytes()
        case _:
            return _decode_scalar(escape, body)


def _decode_pairs(
    pairs: list[list[Any]], locate: Callable[[str, str], Path]
) -> Iterator[tuple[object, object]]:
    for key, item in pairs:
        yield _decode(key, locate), _decode(item, locate)


def _decode_scalar(escape: str, body: Any) -> object:
    match escape:
        case "$float":
            return _number(body)
        case "$int":
            return int(body, 16)
        case "$complex":
            return complex(_number(body[0]), _number(body[1]))
        case "$text":
            return base64.b64decode(body).decode("utf-8", "surrogatepass")
        case "$path":
            return Path(body if isinstance(body, str) else str(_decode_scalar("$text", body["$text"])))
        case "$bytes":
            return base64.b64decode(body)
    raise FormatError(
        f"a recorded result holds {escape!r}, which this version of perdure does not know; "
        "it was written by a newer one: upgrade perdure"
    )


def _number(bits: str) -> float:
    number: float = struct.unpack(">d", bytes.fromhex(bits))[0]
    return number


def _decode_array(body: dict[str, str], locate: Callable[[str, str], Path]) -> object:
    import numpy as np

    array: np.ndarray[Any, Any]
    if "blob" in body:
        array = np.load(locate(body["blob"], ".npy"), mmap_mode="r", allow_pickle=False)
    else:
        array = np.load(io.BytesIO(base64.b64decode(body["npy"])), allow_pickle=False)
        array.setflags(write=False)  # as a mapped one is
    if "view" in body:
        array = array.view(_ml_dtype(body["view"]))
    return array


def _ml_dtype(name: str) -> np.dtype[Any]:
    import numpy as np

    kind = getattr(importlib.import_module("ml_dtypes"), name, None)
    if not (isinstance(kind, type) and kind.__module__ == "ml_dtypes"):
        raise FormatError(f"a recorded array has the type {name!r}, which the installed ml_dtypes lacks")
    return np.dtype(kind)


def _decode_table(body: dict[str, str], locate: Callable[[str, str], Path]) -> object:
    kind, path = body["kind"], locate(body["blob"], ".parquet")
    if kind == "polars.DataFrame":
        import polars as pl

        return pl.read_parquet(path, glob=False, hive_partitioning=False)
    if kind not in TABLE_KINDS:
        raise FormatError(
            f"a recorded table is of kind {kind!r}; this version knows {', '.join(TABLE_KINDS)}"
        )
    import pyarrow.parquet as pq

    # ParquetFile, not read_table: the latter would read partitions out of the folder's name.
    with pq.ParquetFile(path) as file:
        table = file.read()
    return table.to_pandas() if kind == "pandas.DataFrame" else table
