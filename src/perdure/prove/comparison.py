"""The first difference between two completed runs: phase, generation, part and value, from what both left on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from perdure import results
from perdure.errors import DamagedError
from perdure.prove.subject import opened
from perdure.prove.values import Place, first_difference, in_arrays, shown
from perdure.snapshot import codec
from perdure.store.database import Reader, Row, quoted
from perdure.store.digest import PhaseDigest, digests
from perdure.store.generations import path_of

_OWN_PARTS = ("streams", "loop", "best", "history")  # looked at after the parts that the script named


@dataclass(frozen=True, slots=True)
class Difference:
    """Two runs, one uninterrupted, part here first."""

    phase: str
    when: str  # "iteration 3 (generation 4)", "unit 'b'", or ''
    part: str  # "part w", "history", "result", "table samples"
    where: str  # within the part
    expected: str  # in the uninterrupted run
    found: str
    extent: str = ""
    others: tuple[str, ...] = ()  # what else differs at the end

    def __str__(self) -> str:
        place = ", ".join(filter(None, (f"phase {self.phase}", self.when, self.part + self.where)))
        extent = f" ({self.extent})" if self.extent else ""
        return f"{place}: {self.expected} uninterrupted, {self.found} here{extent}"


@dataclass(frozen=True, slots=True)
class _Folder:
    """One run, opened for reading."""

    place: Path
    reader: Reader

    def blob(self, digest: str, suffix: str) -> Path:
        return self.place / "blobs" / f"{digest}{suffix}"


_Pair = tuple[_Folder, _Folder]


def compare(expected: Path, found: Path) -> Difference | None:
    """The first difference; None when the runs have equal digests."""
    with opened(expected) as reader, opened(found) as second:
        one, other = _Folder(expected, reader), _Folder(found, second)
        known, seen = (_phases(run) for run in (one, other))
        for path in _order(known):
            there = seen.get(path)
            if there is None:
                return Difference(path, "", "the phase", "", known[path].state, "absent")
            if there.digest != known[path].digest or there.state != known[path].state:
                first = _in_phase((one, other), known[path], there)
                return replace(first, others=_others(known, seen))
        more = next((path for path in seen if path not in known), None)
        return None if more is None else Difference(more, "", "the phase", "", "absent", "there")


def _phases(run: _Folder) -> dict[str, PhaseDigest]:
    return {phase.path: phase for phase in digests(run.reader)}


def _order(phases: dict[str, PhaseDigest]) -> list[str]:
    """As they ran, but a phase after those inside it: its results are made of theirs."""
    order = list(phases)
    return sorted(
        order, key=lambda path: (order.index(path.partition("/")[0]), -path.count("/"), order.index(path))
    )


def _others(known: dict[str, PhaseDigest], seen: dict[str, PhaseDigest]) -> tuple[str, ...]:
    return tuple(
        f"{path}: {part}"
        for path in known
        if path in seen
        for part in known[path].parts | seen[path].parts
        if known[path].parts.get(part) != seen[path].parts.get(part)
    )


def _in_phase(pair: _Pair, known: PhaseDigest, seen: PhaseDigest) -> Difference:
    """The earliest difference within a phase."""
    candidates = list(_in_loop(pair, known.path) if known.kind == "range" else _in_units(pair, known.path))
    candidates += _in_tables(pair, known.path)
    candidates += _in_history(pair, known.path)
    if not candidates:
        return Difference(known.path, "", "the phase", "", known.state, seen.state)
    return min(candidates, key=lambda found: found[0])[1]


_Found = tuple[tuple[int, int], Difference]  # (position, which goes first at equal positions), the difference


# -- loops -------------------------------------------------------------------------------------------------------


def _in_loop(pair: _Pair, loop: str) -> Iterator[_Found]:
    """The first generation that both runs saved at the same cursor with different parts."""
    one, other = (_generations(run, loop) for run in pair)
    for cursor, (row, there) in ((c, (one[c], other[c])) for c in sorted(one) if c in other):
        parts = [json.loads(found["parts"]) for found in (row, there)]
        names = [name for name in parts[0] | parts[1] if parts[0].get(name) != parts[1].get(name)]
        if names and names != ["history"]:
            name = min(names, key=lambda name: (_OWN_PARTS.index(name) if name in _OWN_PARTS else -1, name))
            batch = f", batch {cursor[2]}" if cursor[1] else ""
            when = f"after iteration {cursor[0]}{batch} (generation {row['generation']})"
            place = _in_part(pair, loop, name, (row["generation"], there["generation"]))
            yield (cursor[0], 0), _difference(loop, when, f"part {name}", place)
            return
    last = [max(found, default=(0, 0, 0)) for found in (one, other)]
    if last[0] != last[1]:
        texts = f"{last[0][0]} iterations", f"{last[1][0]} iterations"
        yield (last[0][0] + 1, 9), Difference(loop, "at the end", "the loop", "", *texts)


def _generations(run: _Folder, loop: str) -> dict[tuple[int, int, int, int], Row]:
    rows = run.reader.rows(
        "SELECT * FROM snapshots WHERE loop = ? AND state IN ('kept', 'removed') ORDER BY generation", (loop,)
    )
    return {(row["position"], row["stream"], row["batch"], row["final"]): row for row in rows}


def _in_part(pair: _Pair, loop: str, name: str, numbers: tuple[int, int]) -> Place:
    """Which tensor, or which entry of the document. Where a file is gone, only that the part differs is known."""
    texts = []
    for run, number in zip(pair, numbers, strict=True):
        path = path_of(run.place, loop, number)
        if not path.exists():
            return Place("", "one digest", "another (its snapshot was removed)")
        texts.append(codec.read(path))
    (arrays, text), (others, other_text) = texts
    prefix = f"{name}/"
    for tensor in sorted(key for key in arrays | others if key.startswith(prefix)):
        inner = f"/{tensor.removeprefix(prefix)}"
        if tensor not in arrays or tensor not in others:
            return Place(inner, *("there" if tensor in found else "absent" for found in (arrays, others)))
        place = in_arrays(arrays[tensor], others[tensor], inner)
        if place is not None:
            return place
    documents = [_document(found, name) for found in (text, other_text)]
    return first_difference(*documents) or Place("", "one digest", "another")


def _document(text: str, name: str) -> Any:
    header = json.loads(text)
    if name == "best":
        return header["best"]
    return plain(json.loads(header["documents"].get(name, "null")))


def plain(document: Any) -> Any:
    """A part's document without the marks of its containers: {"dict": [["a", 1]]} is {"a": 1}."""
    if not isinstance(document, dict) or len(document) != 1:
        return document
    ((kind, content),) = document.items()
    if kind == "dict":
        return {str(key): plain(value) for key, value in content}
    return [plain(value) for value in content] if kind in {"list", "tuple"} else document


def _difference(phase: str, when: str, part: str, place: Place) -> Difference:
    return Difference(phase, when, part, place.where, place.expected, place.found, place.extent)


# -- histories and tables ----------------------------------------------------------------------------------------


def _in_history(pair: _Pair, path: str) -> Iterator[_Found]:
    """The first entry that differs. A snapshot after iteration p holds what was logged at position p - 1."""
    loops = pair[0].reader.rows(
        "SELECT DISTINCT loop FROM history WHERE loop = ? OR loop IN (SELECT phase || '/' || "
        "replace(replace(key, '~', '~0'), '/', '~1') FROM units WHERE phase = ? AND key != '') ORDER BY loop",
        (path, path),
    )
    for (loop,) in map(tuple, loops):
        sql = "SELECT seq, position, entry FROM history WHERE loop = ? ORDER BY seq"
        one, other = (
            [(row["position"], json.loads(row["entry"])) for row in run.reader.rows(sql, (loop,))]
            for run in pair
        )
        place = first_difference([entry for _, entry in one], [entry for _, entry in other])
        if place is None:
            continue
        number = int(place.where[1:].partition("]")[0]) if place.where else min(len(one), len(other)) - 1
        position = one[number][0] if number < len(one) else other[number][0]
        inner = Place(place.where.partition("]")[2], place.expected, place.found)
        within = "" if loop == path else f" of {loop}"
        yield (
            (position + 1, 5),
            _difference(path, f"logged in iteration {position + 1}", f"history{within}", inner),
        )


def _in_tables(pair: _Pair, path: str) -> Iterator[_Found]:
    """The first row that differs, of each table that the phase filled."""
    columns = [
        {row["name"]: [name for name, _ in json.loads(row["columns"])]
         for row in run.reader.rows("SELECT name, columns FROM user_tables")} for run in pair
    ]  # fmt: skip
    for table in sorted(columns[0] | columns[1]):
        names = [found.get(table, []) for found in columns]
        if sorted(names[0]) != sorted(names[1]):
            yield (0, 7), Difference(path, "", f"table {table}", "", str(names[0]), str(names[1]))
            continue
        one, other = (list(_rows(run, table, sorted(names[0]), path)) for run in pair)
        for number, (row, there) in enumerate(zip(one, other, strict=False)):
            place = first_difference(row, there)
            if place is not None:
                inner = Place(f" row {number} {place.where}", place.expected, place.found)
                yield (row["_position"] + 1, 6), _difference(path, "", f"table {table}", inner)
                break
        else:
            if len(one) != len(other):
                texts = f"{len(one)} rows", f"{len(other)} rows"
                yield (1 << 30, 8), Difference(path, "", f"table {table}", "", *texts)


def _rows(run: _Folder, table: str, names: list[str], path: str) -> Iterator[dict[str, Any]]:
    listed = ", ".join(quoted(name) for name in names)
    sql = f"SELECT {listed}, _position, _row FROM {quoted(table)} WHERE _phase = ? ORDER BY _position, _row"  # noqa: S608
    for row in run.reader.rows(sql, (path,)):
        yield dict(zip([*names, "_position", "_row"], row, strict=True))


# -- units -------------------------------------------------------------------------------------------------------


def _in_units(pair: _Pair, path: str) -> Iterator[_Found]:
    """The first unit, in order, whose result or state differs."""
    one, other = (_units(run, path) for run in pair)
    for key, row in one.items():
        there = other.get(key)
        when = f"unit {key!r}" if key else ""
        if there is None or row["state"] != there["state"]:
            texts = row["state"], there["state"] if there is not None else "absent"
            yield (row["position"] + 1, 4), Difference(path, when, "the unit", "", *texts)
            return
        if row["digest"] != there["digest"]:
            values = [_result(run, found["document"]) for run, found in zip(pair, (row, there), strict=True)]
            place = first_difference(*values) or Place("", shown(values[0]), shown(values[1]))
            yield (row["position"] + 1, 4), _difference(path, when, "result", place)
            return


def _units(run: _Folder, path: str) -> dict[str, Row]:
    rows = run.reader.rows("SELECT * FROM units WHERE phase = ? ORDER BY position", (path,))
    return {row["key"]: row for row in rows}


def _result(run: _Folder, document: str) -> Any:
    locate: Callable[[str, str], Path] = run.blob
    try:
        return results.decode(document, locate)
    except (OSError, DamagedError):
        return json.loads(document)
