"""Phase 3: training, validation and test parts that share no star and no copy of a curve.

Stars that share a near-copy of a curve become one group; a group goes to one part as a whole. Within each
stratum (label, and kind where it is known) groups are laid in a row, in the order of a keyed hash of their
names, and the row is cut by the shares. The order of a group depends on the seed and its name only: what
happens to one row moves no other group further than over the one cut beside it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet.curves import UNKNOWN
from perdure.pipelines.exoplanet.preparation.twins import digests, near_copies

TRAIN, VALIDATION, TEST, QUARANTINED = 0, 1, 2, -1
PART_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the split noticed about a row: `what` is copy, conflict, near-copy, leak or unlabelled.

    other: the row that it copies, or -1. A near-copy stays in use, in the same part as the other; the rest
    are quarantined.
    """

    what: str
    row: int
    other: int
    reason: str


@dataclass(frozen=True, slots=True)
class Split:
    """part: (n,) int8: 0 train, 1 validation, 2 test, -1 quarantined. group: (n,) int32: rows that must share
    a part.
    """

    part: np.ndarray
    group: np.ndarray
    findings: tuple[Finding, ...]

    def counts(self) -> dict[str, int]:
        """Findings by what they are, for a report."""
        return dict(sorted(Counter(finding.what for finding in self.findings).items()))


def split(
    flux: Sequence[np.ndarray],
    star: np.ndarray,
    label: np.ndarray,
    *,
    seed: int,
    kind: np.ndarray | None = None,
    part: np.ndarray | None = None,
    shares: tuple[float, float, float] = (0.70, 0.15, 0.15),
    threads: int = 1,
) -> Split:
    """Part `n` curves by star; a pure function of its arguments (`threads` changes no bit).

    flux:  blocks (n_k, length) float32 as read, memory-mapped or not; star: (n,) str; label: (n,) 1, 0 or -1.
    kind:  (n,) str, "" where unknown: a finer stratum.
    part:  (n,) a split that was given, -1 where there is none; it is kept, but of rows which leak from one part
           to another, those in the earlier part are quarantined.
    Raises UsageError when a label is left without a curve in one of the parts.
    """
    rows = sum(len(block) for block in flux)
    if not len(star) == len(label) == rows or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise UsageError(
            f"{rows} curves came with {len(star)} stars and {len(label)} labels, and with shares {shares} "
            "that must sum to 1"
        )
    given = np.full(rows, QUARANTINED, np.int8) if part is None else part.astype(np.int8)
    findings, used = _exact_copies(digests(flux, threads=threads), label, given)
    same = [(finding.row, finding.other) for finding in findings]
    for row in np.flatnonzero(used & (label == UNKNOWN)).tolist():
        findings.append(Finding("unlabelled", row, -1, "its label is unknown: nothing can be learnt from it"))
        used[row] = False
    pairs = near_copies(flux, threads=threads)
    findings += [_near(star, first, second) for first, second in pairs[used[pairs].all(axis=1)].tolist()]
    # A star whose curve was set aside as a copy stays tied to the star that kept it.
    group = _groups(star, np.concatenate([pairs, np.array(same, np.int64).reshape(-1, 2)]))
    parts = np.where(used, given, QUARANTINED).astype(np.int8)
    findings += _leaks(parts, group, used)
    _adopt(parts, group, np.flatnonzero(used & (parts == QUARANTINED)))
    open_rows = np.flatnonzero(used & (parts == QUARANTINED))
    names = np.full(rows, "") if kind is None else kind.astype(str)
    _assign(parts, group, star, label, names, open_rows, seed=seed, shares=shares)
    _check(parts, label)
    return Split(parts, group, tuple(sorted(findings, key=lambda finding: (finding.row, finding.what))))


def _near(star: np.ndarray, first: int, second: int) -> Finding:
    """Of two nearly equal curves; those of one star are in one part anyway, but are worth a word too."""
    reason = f"star {star[second]} has nearly the same curve as star {star[first]}"
    return Finding("near-copy", second, first, reason)


def _exact_copies(
    digest: Sequence[bytes], label: np.ndarray, given: np.ndarray
) -> tuple[list[Finding], np.ndarray]:
    """Keep one of each curve: a labelled one, of the latest given part, the first such; none in a conflict.

    Returns what was found, and (n,) bool: whether a row is still in use.
    """
    copies: dict[bytes, list[int]] = defaultdict(list)
    for row, value in enumerate(digest):
        copies[value].append(row)
    findings: list[Finding] = []
    used = np.ones(len(digest), bool)
    for rows in copies.values():
        if len(rows) == 1:
            continue
        labels = {int(label[row]) for row in rows} - {UNKNOWN}
        kept = min(rows, key=lambda row: (label[row] == UNKNOWN, -given[row], row))
        for row in rows:
            finding = _copy(row, kept, rows, given, conflict=len(labels) > 1)
            if finding is not None:
                findings.append(finding)
                used[row] = False
    return findings, used


def _copy(row: int, kept: int, rows: list[int], given: np.ndarray, *, conflict: bool) -> Finding | None:
    """What is wrong with one of several rows that hold the same curve; None for the one that is kept."""
    if conflict:
        other = rows[0] if row != rows[0] else rows[1]
        return Finding("conflict", row, other, f"rows {rows} hold one curve under different labels")
    if row == kept:
        return None
    if given[row] != given[kept] and min(given[row], given[kept]) >= 0:
        return Finding("leak", row, kept, f"the same curve is in the {PART_NAMES[given[kept]]} part")
    return Finding("copy", row, kept, f"row {kept} holds the same curve")


def _groups(star: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Number the groups: stars joined by pairs of rows, in the order of their first rows (union-find)."""
    _, code = np.unique(star, return_inverse=True)
    parent = np.arange(code.max(initial=-1) + 1)

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = int(parent[node])
        return node

    for first, second in code[pairs].tolist():
        a, b = root(first), root(second)
        parent[max(a, b)] = min(a, b)
    roots = np.array([root(node) for node in range(len(parent))], np.int64)[code]
    _, first_row, number = np.unique(roots, return_index=True, return_inverse=True)
    order = np.empty(len(first_row), np.int32)
    order[np.argsort(first_row)] = np.arange(len(first_row))
    return order[number]


def _leaks(parts: np.ndarray, group: np.ndarray, used: np.ndarray) -> list[Finding]:
    """Quarantine, in each group that a given split tore apart, all rows but those of the latest part."""
    latest = np.full(group.max(initial=-1) + 1, QUARANTINED, np.int8)
    np.maximum.at(latest, group, parts)
    torn = np.flatnonzero(used & (parts != QUARANTINED) & (parts < latest[group]))
    findings = []
    for row in torn.tolist():
        name = PART_NAMES[latest[group[row]]]
        reason = f"its star, or a near-copy of its curve, is in the {name} part of the given split too"
        findings.append(Finding("leak", row, -1, reason))
    parts[torn] = QUARANTINED
    used[torn] = False
    return findings


def _adopt(parts: np.ndarray, group: np.ndarray, open_rows: np.ndarray) -> None:
    """Rows without a given part follow the given part of their group, if it has one."""
    of_group = np.full(group.max(initial=-1) + 1, QUARANTINED, np.int8)
    np.maximum.at(of_group, group, parts)
    parts[open_rows] = of_group[group[open_rows]]


@dataclass(slots=True)
class _Group:
    rows: list[int]
    name: str
    label: int
    kind: str


def _assign(
    parts: np.ndarray,
    group: np.ndarray,
    star: np.ndarray,
    label: np.ndarray,
    kind: np.ndarray,
    open_rows: np.ndarray,
    *,
    seed: int,
    shares: tuple[float, float, float],
) -> None:
    """Write the part of every open row."""
    by_number: dict[int, list[int]] = defaultdict(list)
    for row in open_rows.tolist():
        by_number[int(group[row])].append(row)
    strata: dict[int, dict[str, list[_Group]]] = defaultdict(lambda: defaultdict(list))
    for rows in by_number.values():
        first = max(rows, key=lambda row: (label[row], -row))  # a planet decides for its group
        name = min(str(star[row]) for row in rows)
        one = _Group(rows, name, int(label[first]), str(kind[first]))
        strata[one.label][one.kind].append(one)
    for of_label in strata.values():
        chosen = [
            pair for name, groups in sorted(of_label.items()) for pair in _cut(name, groups, seed, shares)
        ]
        _fill_empty(chosen)
        for one, number in chosen:
            parts[one.rows] = number


def _cut(
    stratum: str, groups: list[_Group], seed: int, shares: tuple[float, float, float]
) -> list[tuple[_Group, int]]:
    """Lay the groups in a row by their keyed hash and cut it by the shares.

    The cuts start at a point of the row that depends on the seed and the stratum, so that many strata of a
    few groups each, taken together, still have the right shares.
    """
    label = groups[0].label
    ordered = sorted(groups, key=lambda one: _hash(seed, "group", one.name))
    sizes = np.array([len(one.rows) for one in ordered], np.float64)
    middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    offset = int.from_bytes(_hash(seed, "offset", f"{label}/{stratum}")[:6], "big") / 2**48
    cuts = np.cumsum(shares)[:2]
    numbers = np.searchsorted(cuts, (middles + offset) % 1.0, side="right")
    return list(zip(ordered, numbers.tolist(), strict=True))


def _hash(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}\0{purpose}\0{name}".encode("utf-8", "surrogatepass")).digest()


def _fill_empty(chosen: list[tuple[_Group, int]]) -> None:
    """Give each part a group of the label, from the part that has most of them, if there are three."""
    for wanted in (TRAIN, VALIDATION, TEST):
        count = Counter(number for _, number in chosen)
        richest = max((TRAIN, VALIDATION, TEST), key=lambda number: (count[number], -number))
        if not count[wanted] and count[richest] > 1:
            place = next(k for k, (_, number) in enumerate(chosen) if number == richest)
            chosen[place] = (chosen[place][0], wanted)


def _check(parts: np.ndarray, label: np.ndarray) -> None:
    for value, name in ((1, "planet"), (0, "no planet")):
        of_label = parts[label == value]
        missing = [PART_NAMES[k] for k in (TRAIN, VALIDATION, TEST) if k not in of_label]
        if missing:
            raise UsageError(
                f"no curve labelled {name} is left for {' and '.join(missing)}; three parts need at least "
                f"three stars of each label, and {int((of_label >= 0).sum())} such curves were usable"
            )
