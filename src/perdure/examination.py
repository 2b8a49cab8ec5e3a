"""Is a run whole? What `store.check` compares, and what only those can judge who read results and snapshots."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import blake3
import numpy as np

from perdure import files
from perdure.errors import DamagedError, PerdureError
from perdure.results import blobs_of
from perdure.snapshot import codec, commit, recovery
from perdure.snapshot.parts import canonical
from perdure.store.check import Checked, Finding, check
from perdure.store.database import Reader
from perdure.store.generations import Entry


def examine(folder: Path, reader: Reader) -> Checked:
    """Compare every row of a run with its file, and back; see `perdure verify`."""
    checked = check(folder, reader, blobs_of=blobs_of, is_whole=recovery.is_whole)
    looks = {"export": _exports(folder, reader), "history": _histories(reader)}
    findings, counts = list(checked.findings), dict(checked.counts)
    for kind, look in looks.items():
        found = list(look)
        findings += [finding for finding in found if finding is not None and finding not in findings]
        counts[kind] = max(counts.get(kind, 0), len(found))
    return Checked(tuple(findings), checked.leftovers, counts)


def _histories(reader: Reader) -> Iterator[Finding | None]:
    """The newest snapshot of a loop holds the digest of all that was logged up to it."""
    for row in reader.rows(
        "SELECT loop, max(generation), logged, json_extract(parts, '$.history') AS digest FROM snapshots "
        "WHERE state = 'kept' GROUP BY loop"
    ):
        entries = reader.rows(
            "SELECT seq, position, entry FROM history WHERE loop = ? AND seq < ? ORDER BY seq",
            (row["loop"], row["logged"]),
        )
        try:
            logged = [Entry(e["seq"], e["position"], json.loads(e["entry"])) for e in entries]
        except ValueError:
            logged = []
        if len(entries) < row["logged"] or commit.history_digest("", logged) == row["digest"]:
            yield None  # missing entries were counted by the check
        else:
            yield Finding("history", row["loop"], "is not what its newest snapshot was saved with")


def _exports(folder: Path, reader: Reader) -> Iterator[Finding | None]:
    for loop, digest, before in _best(reader):
        path = export_path(folder, loop)
        try:
            found = _digest_of_best(path) if path.exists() else ""
        except PerdureError:
            found = "unreadable"
        if found == digest or (found == before and _was_killed(reader)):
            yield None
        else:
            state = "is not the best state of its newest snapshot" if found else "is missing"
            yield Finding("export", loop, f"exports/{path.name} {state}")


def _best(reader: Reader) -> Iterator[tuple[str, str, str]]:
    """Loops, the digest of the best state in their newest generation, and in the one before; "" where there is none."""
    rows = reader.rows(
        "SELECT loop, json_extract(parts, '$.best') AS best FROM snapshots WHERE state = 'kept' "
        "ORDER BY loop, generation"
    )
    for loop, generations in groupby(rows, key=itemgetter("loop")):
        *_, before, newest = "", *(row["best"] or "" for row in generations)
        if newest:
            yield loop, newest, before


def _was_killed(reader: Reader) -> bool:
    """Then a snapshot may count whose best state was not exported any more; the next start does that."""
    newest = reader.rows("SELECT outcome FROM attempts ORDER BY id DESC LIMIT 1")
    return bool(newest) and newest[0]["outcome"] == "running"


def export_path(folder: Path, loop: str) -> Path:
    """Where the best state of a loop is exported to."""
    return folder / "exports" / f"{files.name_for(loop)}.best.safetensors"


def _digest_of_best(path: Path) -> str:
    """The digest that a snapshot records for its best state, of an exported one."""
    arrays, document = codec.read(path)
    try:
        documents: dict[str, Any] = json.loads(document)["documents"]
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{path} has an unreadable header ({error})") from error
    hasher = blake3.blake3(canonical(documents).encode())
    hasher.update(canonical([[name, a.dtype.name, list(a.shape)] for name, a in arrays.items()]).encode())
    for array in arrays.values():
        hasher.update(bytes_of(array))
    return str(hasher.hexdigest())


def bytes_of(array: np.ndarray) -> memoryview:
    """An array's bytes, in C order."""
    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8))  # type: ignore[arg-type]
