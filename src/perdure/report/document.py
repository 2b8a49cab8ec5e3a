"""The sections of a report, what matters most first."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure.console import counted, duration
from perdure.overview import Overview, PhaseState, overview
from perdure.report import curves, exports, page, record
from perdure.report.record import Curve, LoopLog
from perdure.report.wording import cause, number
from perdure.store.database import Reader
from perdure.store.digest import digests

_MOST_CHARTS = 40
_MOST_ROWS = 200
_SHOWN_ROWS = 25  # of a table whose rest is folded
_MOST_SERIES = 4  # in one chart
_CELLS = (
    500_000  # of user tables; beyond, digests take seconds, and the page made at each end leaves them out
)
_VALIDATION = ("val_", "valid_", "validation_", "test_", "train_")


def document(folder: Path, reader: Reader, *, now: float, thorough: bool) -> bytes:
    """The page for a run, as of one moment. thorough: with digests, however large the user's tables are."""
    seen = overview(folder, reader, now=now)
    with reader.transaction():
        log = record.logged(reader)
        parts = [
            *_head(seen),
            *_attempts(reader, seen),
            *_phases(reader, seen),
            *_curves(log),
            *_values(log),
            *_failures(reader, seen),
            *exports.pictures(folder / "exports"),
            page.columns([*_origin(reader), _tables(seen), exports.listing(folder / "exports")]),
            *_digests(reader, thorough=thorough),
            page.paragraph(f"Written by perdure on {_moment(now)} from {folder / 'run.db'}.", "dim"),
        ]
    return page.page(f"{folder.name}: {seen.state}", parts)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


# -- in short ----------------------------------------------------------------------------------------------------


def _head(seen: Overview) -> list[str]:
    worked = sum(attempt.seconds for attempt in seen.attempt_log)
    kind = {"completed": "good", "failed": "bad"}.get(seen.state, "warn")
    facts = [
        (seen.state, _state_words(seen), kind),
        (duration(worked), "of work", ""),
        *_interrupted(seen),
        *_overhead(seen),
        *_proof(seen),
    ]
    return [
        page.heading(Path(seen.run).name, 1),
        page.paragraph(f"{seen.target}, {_when(seen)}", "dim"),
        page.cards(facts),
        page.paragraph(_told(seen, worked)),
    ]


def _state_words(seen: Overview) -> str:
    done = sum(phase.state == "completed" for phase in seen.phases)
    failed = f", {counted(seen.failed, 'failed unit')}" if seen.failed else ""
    return f"{done} of {counted(len(seen.phases), 'phase')}{failed}"


def _interrupted(seen: Overview) -> list[tuple[str, str, str]]:
    cut = _interruptions(seen)
    if not cut:
        return [("0", "interruptions", "")]
    return [
        (number(cut), "interruption" if cut == 1 else "interruptions", ""),
        (duration(seen.saved_s), "of work that resuming saved", "good"),
        (duration(seen.lost_s), "of work done again", ""),
    ]


def _interruptions(seen: Overview) -> int:
    return sum(attempt.outcome not in {"completed", "running"} for attempt in seen.attempt_log)


def _when(seen: Overview) -> str:
    first, last = seen.attempt_log[0], seen.attempt_log[-1]
    return f"{_moment(first.started_at)} to {_moment(last.started_at + last.seconds)}"


def _overhead(seen: Overview) -> list[tuple[str, str, str]]:
    if seen.overhead is None:
        return []
    budget = "no budget" if seen.budget is None else f"budget {seen.budget:.1%}"
    over = seen.budget is not None and seen.overhead > seen.budget
    return [(f"{seen.overhead:.2%}", f"of the time went into saving ({budget})", "warn" if over else "")]


def _proof(seen: Overview) -> list[tuple[str, str, str]]:
    """The badge of `perdure prove`, where it was asked."""
    proof = seen.proof
    if proof is None:
        return []
    kills = counted(proof.kills, "kill")
    told = f"proved on {_moment(proof.at)[:10]}: {proof.equal} of {kills} ended with the same bits"
    if proof.outdated:
        return [("outdated", f"{told}; code, settings or libraries changed since", "warn")]
    return [(proof.verdict, told, "good" if proof.verdict == "exact" else "bad")]


def _told(seen: Overview, worked: float) -> str:
    """The same as one would tell it."""
    cut = _interruptions(seen)
    last = seen.attempt_log[-1]
    open_end = (
        "" if seen.state == "completed" else f" It is not complete: {cause(last.outcome, last.exit_code)}."
    )
    if not cut:
        return f"The run has worked for {duration(worked)}, uninterrupted.{open_end}"
    return (
        f"The run was interrupted {'once' if cut == 1 else f'{cut} times'}. That cost {duration(seen.lost_s)} of work "
        f"that had not been saved, and {duration(seen.away_s)} in which nothing ran. Because it went on from what was "
        f"saved, {duration(seen.saved_s)} of work did not have to be done a second time.{open_end}"
    )


def _open_end(seen: Overview) -> str:
    last = seen.attempt_log[-1]
    if last.outcome == "completed":
        return "some of its phases are not through"
    return cause(last.outcome, last.exit_code)


# -- attempts and phases -----------------------------------------------------------------------------------------


def _attempts(reader: Reader, seen: Overview) -> list[str]:
    causes = record.causes(reader, seen.attempt_log)
    kept = 0.0
    rows = []
    for attempt, ended_by in list(zip(seen.attempt_log, causes, strict=True))[-_MOST_ROWS:]:
        rows.append([
            f"{attempt.id}", _moment(attempt.started_at), duration(attempt.seconds), ended_by,
            duration(attempt.lost_s) if attempt.lost_s else "", duration(kept) if kept else "",
            f"{attempt.pid} on {attempt.host}",
        ])  # fmt: skip
        kept += max(0.0, attempt.seconds - attempt.lost_s)
    explained = [
        ("worked", "work that was saved"), ("lost", "work done again"), ("done", "the attempt that completed it"),
    ]  # fmt: skip
    strip = page.figure(curves.timeline(seen.attempt_log, causes), page.legend(explained))
    head = ("attempt", "started", "worked", "ended by", "lost", "found saved", "process")
    return [page.heading("Attempts"), strip, page.table(head, rows)]


def _phases(reader: Reader, seen: Overview) -> list[str]:
    """Those within the units of others are folded."""
    spans = record.spans(reader, seen.attempt_log)
    head = ("phase", "kind", "state", "done", "failed", "of", "started", "time at work")
    outer, inner = (
        [_phase(phase, spans.get(phase.name)) for phase in seen.phases if ("/" in phase.name) == nested]
        for nested in (False, True)
    )
    shown = [page.heading("Phases"), page.table(head, outer[:_MOST_ROWS])]
    if inner:
        shown.append(
            page.folded(f"{counted(len(inner), 'phase')} within these", page.table(head, inner[:_MOST_ROWS]))
        )
    return shown


def _long(head: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """A table; what goes beyond a screen is folded."""
    parts = [page.table(head, rows[:_SHOWN_ROWS])]
    if len(rows) > _SHOWN_ROWS:
        rest = rows[_SHOWN_ROWS:]
        parts.append(page.folded(f"and {counted(len(rest), 'row')} more", page.table(head, rest)))
    return parts


def _phase(phase: PhaseState, span: record.Span | None) -> list[object]:
    return [
        phase.name, {"range": "loop"}.get(phase.kind or "", phase.kind), phase.state, phase.done, phase.failed or None,
        phase.total, _moment(span.started_at) if span else "", duration(span.seconds) if span else "",
    ]  # fmt: skip


# -- what was logged ---------------------------------------------------------------------------------------------


def _curves(log: Sequence[LoopLog]) -> list[str]:
    """A chart for each name, with its validation beside it; dashed lines mark interruptions."""
    charts = [_chart(group, loop) for loop in log for group in _groups(loop.curves).values()]
    if not charts:
        return []
    told = "Over iterations, counted from 1. Dashed lines mark where the run was interrupted and went on."
    if len(charts) > _MOST_CHARTS:
        told += f" The first {_MOST_CHARTS} of {len(charts)} charts; `perdure history` has all numbers."
    shown = "".join(charts[:_MOST_CHARTS])
    return [
        page.heading("Curves"),
        page.paragraph(told, "dim"),
        *(_thinned(loop) for loop in log if loop.stride > 1),
        f'<div class="charts">{shown}</div>',
    ]


def _thinned(loop: LoopLog) -> str:
    told = f"{loop.loop} has {loop.entries:,} entries; one in {loop.stride} was read for its curves."
    return page.paragraph(told, "dim")


def _is_counter(curve: Curve) -> bool:
    """Whether the numbers only count on, such as the rounds so far: nothing to look at."""
    steps = {after - before for before, after in itertools.pairwise(curve.values)}
    return len(steps) == 1 and steps.pop() >= 1 and all(value == int(value) for value in curve.values)


def _groups(found: Sequence[Curve]) -> dict[str, list[Curve]]:
    """loss and val_loss belong together."""
    groups: dict[str, list[Curve]] = {}
    for curve in found:
        if len(curve.values) > 1 and not _is_counter(curve):
            plain = next(
                (curve.name.removeprefix(p) for p in _VALIDATION if curve.name.startswith(p)), curve.name
            )
            group = groups.setdefault(plain, [])
            (group if len(group) < _MOST_SERIES else groups.setdefault(curve.name, [])).append(curve)
    return groups


def _chart(group: Sequence[Curve], loop: LoopLog) -> str:
    words = [
        ("", loop.loop),
        *((f"s{i}", f"{curve.name}, last " + (number(curve.values[-1]) if curve.ended else "not finite") + (
            f" ({curve.missing} not finite)" if curve.missing else ""))
        for i, curve in enumerate(group)),
    ]  # fmt: skip
    return page.figure(curves.chart(group, takeovers=loop.takeovers), page.legend(words))


def _values(log: Sequence[LoopLog]) -> list[str]:
    """First, last, lowest and highest of every logged number."""
    rows: list[list[object]] = []
    for loop in log:
        for curve in loop.curves:
            low, high = min(curve.values), max(curve.values)
            rows.append([
                loop.loop, curve.name, curve.values[0], curve.values[-1] if curve.ended else "not finite", low,
                int(curve.positions[curve.values.index(low)]), high, int(curve.positions[curve.values.index(high)]),
            ])  # fmt: skip
    if not rows:
        return []
    head = ("in", "logged", "first", "last", "lowest", "at iteration", "highest", "at iteration")
    more = len(rows) - _MOST_ROWS
    return [
        page.heading("Logged values"),
        *_long(head, rows[:_MOST_ROWS]),
        *([page.paragraph(f"and {more} more: `perdure history`", "dim")] if more > 0 else []),
    ]


# -- units, tables, origin ---------------------------------------------------------------------------------------


def _failures(reader: Reader, seen: Overview) -> list[str]:
    if not seen.failed:
        return []
    rows = [[f.phase, f.key, f.tries, f.reason] for f in record.failures(reader, limit=_MOST_ROWS)]
    told = "Set aside; the others went on. `perdure run --retry-failed` tries them again."
    more = seen.failed - len(rows)
    return [
        page.heading("Failed units"),
        page.paragraph(f"{told} And {more} more." if more else told, "dim"),
        *_long(("phase", "unit", "tries", "reason"), rows),
    ]


def _tables(seen: Overview) -> list[str]:
    if not seen.tables:
        return []
    return [page.heading("Tables"), page.table(("table in run.db", "rows"), list(seen.tables.items()))]


def _origin(reader: Reader) -> list[list[str]]:
    settings = record.settings(reader)
    rows: list[list[object]] = [["seed", f"{settings.get('seed')}"]]
    rows += [[name, f"{value}"] for name, value in sorted(settings.get("config", {}).items())]
    made_with = [[name, version] for name, version in record.versions(reader).items()]
    return [
        [page.heading("Settings"), page.table(("setting", "value"), rows)],
        [page.heading("Made with"), page.table(("library or machine", "version or value"), made_with)],
    ]


def _digests(reader: Reader, *, thorough: bool) -> list[str]:
    told = "Equal digests are equal bits: of results, weights, history and tables, without times, hosts and attempts."
    if not thorough and _cells(reader) > _CELLS:
        return [page.heading("Digests"), page.paragraph("The tables are large: ask `perdure digest`.", "dim")]
    rows = [[line.path, line.state, line.digest] for line in digests(reader)]
    head = ("phase", "state", "digest")
    return [
        page.heading("Digests"),
        page.paragraph(told, "dim"),
        page.table(head, rows, hexadecimal=("digest",)),
    ]


def _cells(reader: Reader) -> int:
    """Of the user's tables, about."""
    row: Any = reader.row(
        "SELECT coalesce(sum(r.rows * (length(t.columns) / 12)), 0) FROM user_rows r JOIN user_tables t USING (name)"
    )
    return int(row[0])
