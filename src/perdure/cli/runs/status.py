"""`perdure status`: where a run stands, as a text of at most 80 columns or as a document."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli.app import (
    AsJson,
    RunArgument,
    command,
    emit,
    reading,
    run_folder,
    say,
    size_of,
    table,
    time_of,
)  # fmt: skip
from perdure.console import counted, duration, printable

if TYPE_CHECKING:
    from perdure.overview import Overview

_COLUMNS = 80
_WATCH_SECONDS = 1.0


@command("status")
def status(
    run: RunArgument = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="A live view, until q or Ctrl+C.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show where a run stands.

    Phases, progress, ETA, last save, process, attempts, time lost and saved, bytes by part, overhead. Works
    while the run trains, after it was killed, and never changes anything. The state is one of new, running,
    stopped, failed, completed.
    """
    return _watch(run_folder(run), as_json=as_json) if watch else answer_status(run, as_json=as_json)


def answer_status(run: str | None, *, as_json: bool) -> int:
    """Once."""
    seen = _look(run_folder(run))
    emit(seen.as_document()) if as_json else say(drawn(seen))
    return 0


def _look(folder: Path) -> Overview:
    from perdure.overview import overview

    with reading(folder) as reader:
        return overview(folder, reader, now=time.time())


def _watch(folder: Path, *, as_json: bool) -> int:
    """In place on a terminal; elsewhere one text or document after the other, until the process is gone."""
    if not as_json and sys.stdout.isatty():
        from perdure.cli.runs.watch import watch

        return watch(folder)
    while True:
        seen = _look(folder)
        emit(seen.as_document()) if as_json else say(drawn(seen), "")
        if not seen.alive:
            return 0
        time.sleep(_WATCH_SECONDS)


def drawn(seen: Overview) -> str:
    """A text of at most 80 columns."""
    lines = [printable(f"{os.path.basename(seen.run)}: {seen.state}{eta(seen)}"), ""]  # noqa: PTH119 - text, no path
    if seen.phases:
        lines += [*map(printable, _phases(seen).split("\n")), ""]
    lines = [line if len(line) <= _COLUMNS else f"{line[: _COLUMNS - 1]}…" for line in lines]
    return "\n".join(
        [*lines, *(_wrapped(f"{name:<11}{printable(text)}") for name, text in facts(seen) if text)]
    )


def _wrapped(line: str) -> str:
    return textwrap.fill(line, _COLUMNS, subsequent_indent=" " * 11, break_on_hyphens=False)


def eta(seen: Overview) -> str:
    """What is left, as a continuation of the state."""
    if seen.state == "completed":
        return f" with {seen.failed} failed units" if seen.failed else ""
    known = [phase.eta_s for phase in seen.phases if "/" not in phase.name and phase.eta_s]
    if seen.eta_s is None:
        return f", more than {duration(sum(known))} left" if known else ""
    return (
        f", {duration(seen.eta_s)} left" if seen.eta_s else ""
    )  # 0: the script has not said what comes next


def _phases(seen: Overview) -> str:
    """The phases in order, and of those nested in them the ones that are not completed."""
    outer = [phase.name for phase in seen.phases if "/" not in phase.name]
    number = {name: f"{place}/{len(outer)}" for place, name in enumerate(outer, 1)}
    rows = [
        [
            number.get(phase.name, ""), phase.name, phase.kind, phase.state, phase.done, phase.failed or None,
            None if phase.total is None else max(0, phase.total - phase.done - phase.failed)
            if phase.state != "completed" else 0,
            duration(phase.eta_s) if phase.eta_s else None,
        ]
        for phase in seen.phases
        if phase.name in number or phase.state != "completed"
    ]  # fmt: skip
    return table(("", "phase", "kind", "state", "done", "failed", "left", "ETA"), rows, width=_COLUMNS)


def facts(seen: Overview) -> list[tuple[str, str]]:
    """What a run is about, by name; an empty text where there is nothing to say."""
    return [
        ("epoch", _epoch(seen)),
        ("saved", _saved(seen)),
        ("process", _process(seen)),
        ("attempts", _attempts(seen)),
        ("resuming", f"saved {duration(seen.saved_s)} of work" if seen.saved_s >= 1 else ""),
        ("models", f"{seen.models} trained" if seen.models else ""),
        ("tables", ", ".join(f"{name} {rows:,} rows" for name, rows in seen.tables.items())),
        ("bytes", ", ".join(f"{part} {size_of(size)}" for part, size in seen.bytes.items() if size)),
        ("overhead", _overhead(seen)),
        ("proof", _proof(seen)),
        ("target", seen.target),
        ("folder", seen.run),
    ]


def _epoch(seen: Overview) -> str:
    loops = [phase for phase in seen.phases if phase.kind == "range" and phase.state != "completed"]
    return ", ".join(
        f"{loop.reached} of {loop.total} in {loop.name}"
        + (f" ({loop.done} saved)" if loop.reached > loop.done else "")
        for loop in loops
    )


def _saved(seen: Overview) -> str:
    if seen.last_saved_at is None or seen.last_saved_age_s is None:
        return "nothing yet"
    return f"{duration(seen.last_saved_age_s)} ago, at {time_of(seen.last_saved_at)}"


def _process(seen: Overview) -> str:
    if seen.alive:
        return f"{seen.pid} is alive"
    return f"none (the last one was {seen.pid} on {seen.host})" if seen.pid else "none"


def _attempts(seen: Overview) -> str:
    if not seen.attempts:
        return ""
    cut = sum(attempt.outcome not in {"completed", "running"} for attempt in seen.attempt_log)
    lost = f", {cut} interrupted" if cut else ""
    lost += f", {duration(seen.lost_s)} of work lost" if seen.lost_s >= 0.05 else ""
    return f"{seen.attempts}{lost}{f', {duration(seen.away_s)} between them' if seen.away_s >= 1 else ''}"


def _proof(seen: Overview) -> str:
    """What `perdure prove` found, in `exports/proof.json`."""
    found = seen.proof
    if found is None:
        return ""
    said = {
        "exact": f"exact after {counted(found.kills, 'kill')}",
        "differs": f"differs after {found.kills - found.equal} of {found.kills} kills",
    }.get(found.verdict, "the script is not deterministic")
    older = "; outdated: code, settings or libraries changed since" if found.outdated else ""
    return f"{said}, {time_of(found.at)}{older}"


def _overhead(seen: Overview) -> str:
    if seen.overhead is None:
        return ""
    budget = "no budget" if seen.budget is None else f"budget {seen.budget:.1%}"
    return f"{seen.overhead:.2%} of the time went into saving ({budget})"
