"""`perdure status --watch`: a run, drawn again every second.

A drawing is a list of lines, a line a list of spans (text, style); what does not fit the terminal gives way to what is
running now. Colours are the terminal's own, so that they show on light and on dark.
"""

from __future__ import annotations

import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from perdure.cli.app import reading, say
from perdure.cli.runs.status import drawn, eta, facts
from perdure.console import duration, printable
from perdure.errors import UsageError
from perdure.report.record import Curve, Event, Failure, events, failures, latest
from perdure.report.wording import event, number, pace, short_cause

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from perdure.overview import Overview, PhaseState

Line = list[tuple[str, str]]
_SECONDS = 1.0  # between two looks at the run
_POLL = 0.1  # a key or a new size of the terminal is noticed after this time
_MOST = 60  # of events, failures, logged values
_STEPS = "▁▂▃▄▅▆▇█"
_STATE = {
    "running": "bold green",
    "completed": "green",
    "failed": "bold red",
    "stopped": "magenta",
    "new": "dim",
}
_MINOR = ("models", "tables", "bytes", "target", "folder")  # facts that a small terminal goes without
_LABEL = 11
_UNMEASURED = "not measured yet"


@dataclass(frozen=True, slots=True)
class Scene:
    """What one drawing shows."""

    seen: Overview
    loop: str = ""  # the one whose numbers are shown
    curves: tuple[Curve, ...] = ()
    failures: tuple[Failure, ...] = ()
    events: tuple[Event, ...] = ()


def watch(folder: Path) -> int:
    """Draw on the terminal until `q` or Ctrl+C, then leave the plain status there."""
    from rich.console import Console
    from rich.live import Live

    console = Console(highlight=False)
    scene = look(folder)
    try:
        with (
            _ended_in_order(),
            _keys() as pressed,
            Live(console=console, screen=True, auto_refresh=False) as live,
        ):
            while True:
                size = console.size
                live.update(_as_text(drawing(scene, width=size.width, height=size.height)), refresh=True)
                if _quits(pressed, console, size):
                    break
                scene = look(folder)
    except KeyboardInterrupt:
        pass
    say(drawn(scene.seen))
    return 0


def look(folder: Path) -> Scene:
    """Read it all, as of one moment. Raises UsageError when the folder is no longer there."""
    from perdure.overview import overview

    if not folder.is_dir():
        raise UsageError(f"{folder} is gone: it was moved or removed while it was watched")
    with reading(folder) as reader:
        seen = overview(folder, reader, now=time.time())
        if reader is None:
            return Scene(seen)
        loops = [phase for phase in seen.phases if phase.kind == "range" and phase.reached]
        open_loops = [loop for loop in loops if loop.state != "completed"] or loops
        name = open_loops[-1].name if open_loops else ""
        return Scene(
            seen, name, latest(reader, name, count=_MOST) if name else (),
            tuple(failures(reader, limit=_MOST)), tuple(events(reader, limit=_MOST)),
        )  # fmt: skip


# -- the drawing -------------------------------------------------------------------------------------------------


def drawing(scene: Scene, *, width: int, height: int) -> list[Line]:
    """At most `height` lines, meant for `width` columns."""
    top, told = [_headline(scene.seen, width), []], _facts(scene.seen, width, small=height < 30)
    goes_on = "; the run goes on" if scene.seen.alive else ""
    foot: Line = [(f"q or Ctrl+C ends this view{goes_on}", "dim")]
    room = height - len(top) - len(told) - 4  # blank lines, and the last one
    phases = _phases(scene.seen, width, max(3, room // 2))
    curves = _numbers(scene, width, max(1, (room - len(phases)) // 2))
    failed = _failures(scene, max(1, room // 6))
    journal = _journal(scene.events, room - len(phases) - len(curves) - len(failed) - 1)
    parts = [part for part in (phases, curves, [*told, *failed], journal) if part]
    lines = [*top, *(line for part in parts for line in [*part, []])][: height - 1]
    return [*lines, *[[] for _ in range(height - 1 - len(lines))], foot]


def _headline(seen: Overview, width: int) -> Line:
    name = _shown(os.path.basename(seen.run))[: width // 2]  # noqa: PTH119 - text, no path
    worked = sum(attempt.seconds - attempt.lost_s for attempt in seen.attempt_log)
    line: Line = [(name, "bold"), ("  ", ""), (seen.state, _STATE.get(seen.state, "")), (eta(seen), "")]
    if seen.state != "completed" and seen.eta_s and worked:
        share = worked / (worked + seen.eta_s)
        taken = sum(len(text) for text, _ in line)
        line += [
            ("  ", ""),
            *_bar(share, max(8, min(40, width - taken - 16))),
            (f"  {share:.0%} by time", "dim"),
        ]
    return line


def _bar(share: float, length: int) -> Line:
    filled = min(length, int(length * share + 0.5))
    return [("━" * filled, "cyan"), ("╌" * (length - filled), "dim")]


def _phases(seen: Overview, width: int, rows: int) -> list[Line]:
    """A bar each; where there are too many, those around the first that is not completed."""
    outer = [phase.name for phase in seen.phases if "/" not in phase.name]
    shown = [phase for phase in seen.phases if phase.name in outer or phase.state not in {"completed", "new"}]
    if not shown:
        return []
    current = next((i for i, phase in enumerate(shown) if phase.state != "completed"), len(shown) - 1)
    first = max(0, min(current - 1, len(shown) - rows))
    names = {phase.name: _name(phase, outer) for phase in shown}
    wide = min(max(map(len, names.values())), width // 3)
    counts = {phase.name: _count(phase) for phase in shown}
    narrow = max(map(len, counts.values()))
    length = max(8, min(40, width - wide - narrow - 34))
    return [
        [
            (_cut(names[phase.name], wide), "dim" if phase.state == "new" else ""), ("  ", ""),
            *_bar(_share(phase), length), (f"  {counts[phase.name]:>{narrow}}  ", ""), *_tail(phase),
        ]
        for phase in shown[first : first + rows]
    ]  # fmt: skip


def _name(phase: PhaseState, outer: Sequence[str]) -> str:
    name = _shown(phase.name)
    return f"[{outer.index(phase.name) + 1}/{len(outer)}] {name}" if phase.name in outer else f"      {name}"


def _shown(text: str) -> str:
    """In one line, without control characters."""
    return printable(text).replace("\n", "\\n")


def _cut(text: str, width: int) -> str:
    return text.ljust(width) if len(text) <= width else f"{text[: width - 1]}…"


def _worked(phase: PhaseState) -> int:
    return max(phase.reached, phase.done + phase.failed)


def _share(phase: PhaseState) -> float:
    if phase.state == "completed":
        return 1.0
    return min(1.0, _worked(phase) / phase.total) if phase.total else 0.0


def _count(phase: PhaseState) -> str:
    if phase.state == "new":
        return ""
    return f"{_worked(phase):,}/{phase.total:,}" if phase.total is not None else f"{_worked(phase):,}"


def _tail(phase: PhaseState) -> Line:
    """State or rate, what failed and what is left."""
    failed: Line = [(f", {phase.failed} failed", "red")] if phase.failed else []
    said = {"completed": "done", "new": "waiting"}.get(phase.state, phase.state)
    state = (said, _STATE.get(phase.state, ""))
    left = (phase.total or 0) - _worked(phase)
    if phase.state in {"completed", "new"} or not phase.eta_s or left <= 0:
        return [state, *failed]
    speed = (pace(phase.eta_s / left), "") if phase.state == "running" else state
    return [speed, *failed, (f", {duration(phase.eta_s)} left", "")]


def _numbers(scene: Scene, width: int, rows: int) -> list[Line]:
    """The latest logged numbers of the running loop, each with how it got there."""
    curves = scene.curves[: max(1, rows - 1)]
    if not curves:
        return []
    wide = min(max(len(_shown(curve.name)) for curve in curves), width // 4)
    length = max(10, min(_MOST, width - wide - 42))
    lines: list[Line] = [[("latest in ", "dim"), (_shown(scene.loop), "bold")]]
    for curve in curves:
        low, high = min(curve.values), max(curve.values)
        lines.append([
            (f"  {_cut(_shown(curve.name), wide)}  ", ""), (f"{number(curve.values[-1]):>10}  ", "bold"),
            (sparkline(curve.values[-length:]).ljust(length), "cyan"),
            (f"  {number(low)} to {number(high)}", "dim"),
        ])  # fmt: skip
    more = len(scene.curves) - len(curves)
    if more:
        lines[0].append((f"  and {more} more: `perdure history`", "dim"))
    return lines


def sparkline(values: Sequence[float]) -> str:
    """A character a value, from the lowest to the highest."""
    low, high = min(values), max(values)
    if high == low or math.isinf(high - low):
        return _STEPS[3] * len(values)
    return "".join(_STEPS[round((value - low) / (high - low) * (len(_STEPS) - 1))] for value in values)


def _facts(seen: Overview, width: int, *, small: bool) -> list[Line]:
    """What the plain status says, with the ends of attempts and the budget drawn."""
    lines: list[Line] = []
    for name, known in facts(seen):
        text = known or (_UNMEASURED if name == "overhead" and seen.alive else "")
        if not text or (small and name in _MINOR):
            continue
        line: Line = [(name.ljust(_LABEL), "dim"), (_shown(text), "")]
        if name == "overhead" and seen.overhead is not None and seen.budget:
            line = [line[0], *_bar(seen.overhead / seen.budget, 16), (f"  {_shown(text)}", "")]
        lines.append(line)
        if name == "attempts" and len(seen.attempt_log) > 1:
            lines.append(_ends(seen, width))
    return lines


def _ends(seen: Overview, width: int) -> Line:
    """How the latest attempts ended and what each cost; as many as fit."""
    parts: list[Line] = []
    room = width - _LABEL
    for attempt in reversed(seen.attempt_log):
        word = short_cause(attempt.outcome, attempt.exit_code)
        lost = f" (lost {duration(attempt.lost_s)})" if attempt.lost_s >= 0.05 else ""
        style = {"running": "green", "completed": "green", "stopped": ""}.get(attempt.outcome, "magenta")
        room -= len(f"#{attempt.id} {word}{lost}  ")
        if room < 0:
            break
        parts.insert(0, [(f"#{attempt.id} ", "dim"), (word, style), (f"{lost}  ", "dim")])
    return [(" " * _LABEL, ""), *(span for part in parts for span in part)]


def _failures(scene: Scene, rows: int) -> list[Line]:
    lines: list[Line] = [
        [
            ("failed".ljust(_LABEL), "red"),
            (_shown(f"{unit.phase} {unit.key}: {_first_line(unit.reason)}"), ""),
        ]
        for unit in scene.failures[:rows]
    ]
    more = scene.seen.failed - len(lines)
    if lines and more > 0:
        lines[-1].append((f"  and {more} more", "dim"))
    return lines


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _journal(found: Sequence[Event], rows: int) -> list[Line]:
    """The newest lines last."""
    return [
        [
            (time.strftime("%H:%M:%S", time.localtime(line.at)).ljust(_LABEL), "dim"),
            (_shown(_first_line(event(line.event, line.subject, line.detail))), "dim"),
        ]
        for line in (found[-rows:] if rows > 0 else ())
    ]


# -- the terminal ------------------------------------------------------------------------------------------------


def _as_text(lines: Sequence[Line]) -> Text:
    from rich.text import Text

    text = Text(no_wrap=True, overflow="ellipsis", end="")
    for row, line in enumerate(lines):
        text.append("\n" if row else "")
        for words, style in line:
            text.append(words, style or None)
    return text


def _quits(pressed: Callable[[float], str], console: Console, size: object) -> bool:
    """Wait until the next look is due or the terminal has another size; whether `q` was pressed meanwhile."""
    until = time.monotonic() + _SECONDS
    while time.monotonic() < until and console.size == size:
        if pressed(_POLL).lower() == "q":
            return True
    return False


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends the view as Ctrl+C does, so that the terminal gets its screen back."""

    def end(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits for a key at most so many seconds; without a keyboard it only waits."""
    if sys.platform == "win32":
        yield _windows_key
        return
    import termios
    import tty

    if not sys.stdin.isatty():
        yield _no_key
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield _unix_key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def _unix_key(seconds: float) -> str:
    ready, _, _ = select.select([sys.stdin], [], [], seconds)
    return os.read(sys.stdin.fileno(), 64)[:1].decode(errors="replace") if ready else ""


def _windows_key(seconds: float) -> str:
    import msvcrt
    from typing import Any

    keyboard: Any = msvcrt  # its functions exist on Windows alone
    time.sleep(seconds)
    return str(keyboard.getwch()) if keyboard.kbhit() else ""
