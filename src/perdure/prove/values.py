"""The first place at which two values differ, and how to show what is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_WIDTH = 60  # characters of a shown value


@dataclass(frozen=True, slots=True)
class Place:
    """Where two values part: `where` within them, and what is there in each."""

    where: str
    expected: str
    found: str
    extent: str = ""  # "3 of 48 values differ"


def first_difference(expected: Any, found: Any, where: str = "") -> Place | None:
    """The first place at which two results or documents differ in any bit; None when they are equal."""
    if type(expected) is not type(found):
        return Place(where, shown(expected), shown(found))
    if isinstance(expected, Mapping):
        return _in_mappings(expected, found, where)
    if isinstance(expected, list | tuple):
        return _in_lists(expected, found, where)
    if isinstance(expected, np.ndarray):
        return in_arrays(expected, found, where)
    if hasattr(expected, "columns"):  # a table of polars, pandas or pyarrow
        return _in_tables(expected, found, where)
    same = shown(expected) == shown(found) if isinstance(expected, float | complex) else expected == found
    return None if same else Place(where, shown(expected), shown(found))


def _in_mappings(expected: Mapping[str, Any], found: Mapping[str, Any], where: str) -> Place | None:
    for key in [*expected, *(key for key in found if key not in expected)]:
        inner = f"{where}[{key!r}]"
        if key not in expected or key not in found:
            there = expected if key in expected else found
            texts = shown(there[key]), "absent"
            return Place(inner, *(texts if key in expected else texts[::-1]))
        place = first_difference(expected[key], found[key], inner)
        if place is not None:
            return place
    return None


def _in_lists(expected: Any, found: Any, where: str) -> Place | None:
    for number, (one, other) in enumerate(zip(expected, found, strict=False)):
        place = first_difference(one, other, f"{where}[{number}]")
        if place is not None:
            return place
    if len(expected) != len(found):
        return Place(where, f"{len(expected)} items", f"{len(found)} items")
    return None


def in_arrays(expected: np.ndarray, found: np.ndarray, where: str) -> Place | None:
    """The first element of two arrays whose bits differ, and how many do."""
    if expected.shape != found.shape or expected.dtype != found.dtype:
        kinds = [f"{array.dtype} array of shape {array.shape}" for array in (expected, found)]
        return Place(where, *kinds)
    one, other = (np.ascontiguousarray(array).reshape(-1) for array in (expected, found))
    if not one.nbytes:
        return None
    bits = [array.view(np.uint8).reshape(len(array), -1) for array in (one, other)]
    different = np.flatnonzero((bits[0] != bits[1]).any(axis=1))
    if not len(different):
        return None
    first = int(different[0])
    index = ", ".join(str(int(i)) for i in np.unravel_index(first, expected.shape))
    extent = f"{len(different)} of {len(one)} values differ{_distance(one, other)}"
    texts = shown(one[first]), shown(other[first])
    if texts[0] == texts[1]:
        texts = (f"bytes {bits[0][first].tobytes().hex()}", f"bytes {bits[1][first].tobytes().hex()}")
    return Place(f"{where}[{index}]" if index else where, *texts, extent)


def _distance(one: np.ndarray, other: np.ndarray) -> str:
    if one.dtype.kind not in "fiu":
        return ""
    distances = np.abs(one.astype(np.float64) - other.astype(np.float64))
    distance = float(distances[np.isfinite(distances)].max(initial=0.0))
    return f", by up to {distance:.3g}" if distance else ""


def _in_tables(expected: Any, found: Any, where: str) -> Place | None:
    rows, others = _records(expected), _records(found)
    for number, (one, other) in enumerate(zip(rows, others, strict=False)):
        place = first_difference(one, other, f"{where} row {number} ")
        if place is not None:
            return place
    if len(rows) != len(others):
        return Place(where, f"{len(rows)} rows", f"{len(others)} rows")
    return None


def _records(table: Any) -> list[dict[str, Any]]:
    for name in ("to_dicts", "to_pylist"):
        if hasattr(table, name):
            return list(getattr(table, name)())
    return list(table.to_dict("records"))


def shown(value: object) -> str:
    """A value in a few characters; equal bits have equal texts and, for numbers, different ones different texts."""
    if isinstance(value, np.ndarray):
        return f"{value.dtype} array of shape {value.shape}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        text = value.hex() if len(value) <= _WIDTH // 2 else f"{len(value)} bytes"
    else:
        text = repr(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
