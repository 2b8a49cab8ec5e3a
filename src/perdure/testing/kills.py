"""Kill a script at many seams, resume it each time, and compare the bits."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from perdure.errors import UsageError
from perdure.testing.script import Script, digest


def passages(passed: Sequence[str]) -> list[str]:
    """Each passage of a seam by the name that kills there: a, b, a become a:1, b:1, a:2."""
    counts: Counter[str] = Counter()
    found = []
    for name in passed:
        counts[name] += 1
        found.append(f"{name}:{counts[name]}")
    return found


def spread(passed: Sequence[str], kills: int) -> list[int]:
    """Numbers of `kills` of these passages, evenly over the run, in order; each name at least once where that fits.

    All of them where there are no more.
    """
    count = len(passed)
    if kills >= count:
        return list(range(count))
    chosen: set[int] = set()
    names = list(dict.fromkeys(passed))
    if kills >= len(names):
        for turn, name in enumerate(names):  # each at another part of the run
            places = [number for number, other in enumerate(passed) if other == name]
            chosen.add(places[(2 * turn + 1) * len(places) // (2 * len(names))])
    rest = [number for number in range(count) if number not in chosen]
    missing = kills - len(chosen)
    chosen.update(rest[(2 * i + 1) * len(rest) // (2 * missing)] for i in range(missing))
    return sorted(chosen)


def in_both(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Passages that both runs made: what is recorded now and then passes seams at times of its own."""
    counts, passed, common = Counter(first), Counter[str](), []
    for name in second:
        passed[name] += 1
        if passed[name] <= counts[name]:
            common.append(name)
    return common


def survives_every_kill(
    script: Script | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    kills: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Check that a script, killed at seams and started again, ends with the bits of an uninterrupted run.

    folder: an empty place for its runs. kills: how many seams, spread over the run; None for every one.
    Returns how many kills hit. Raises AssertionError naming the seam and the parts that differ (`perdure prove` names
    the values too), or when two uninterrupted runs differ already; UsageError when there is nothing to compare.
    """
    chosen = script if isinstance(script, Script) else Script.of(script, environment=environment)
    if kills is not None and kills < 1:
        raise UsageError(f"kills={kills} would show nothing; name at least 1, or leave it out for every seam")
    work = Path(folder) / "run"  # all runs take the same place, for a script may record where it is
    passed, expected = _uninterrupted(chosen, work)
    hits = 0
    points = passages(passed)
    for number in spread(passed, len(passed) if kills is None else kills):
        ended = chosen.run(work, PERDURE_KILL_AT=points[number])
        hits += ended.was_killed
        chosen.finish(work)
        _compare(expected, digest(work), f"killed at {points[number]} and resumed, it")
        shutil.rmtree(work)
    return hits


def _uninterrupted(script: Script, work: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The seams that two runs passed, and what they gave."""
    first = script.seams(work)
    if not (work / "run.db").exists():
        raise UsageError(f"{script.name} opened no run: does it call perdure.open, once?")
    expected = digest(work)
    shutil.rmtree(work)
    second = script.seams(work)
    _compare(expected, digest(work), "run twice without any kill, it")
    shutil.rmtree(work)
    return in_both(first, second), expected


def _compare(expected: dict[str, dict[str, str]], found: dict[str, dict[str, str]], what: str) -> None:
    different = [
        f"{phase}: {part}"
        for phase in expected | found
        for part in expected.get(phase, {}) | found.get(phase, {})
        if expected.get(phase, {}).get(part) != found.get(phase, {}).get(part)
    ]
    if different or expected.keys() != found.keys():
        where = ", ".join(different) or "its phases"
        raise AssertionError(f"{what} ended with other bits in {where}; `perdure prove` names the values")
