"""`status --watch`: what is drawn, and that the terminal gets its screen back."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from command_line import LONG, answer, command, environment, script, started, wait_for
from perdure.cli.runs.watch import Scene, drawing, look, sparkline
from perdure.errors import UsageError
from perdure.overview import AttemptState, Overview, PhaseState
from perdure.report.record import Curve, Event, Failure


def shown(scene: Scene, width: int, height: int) -> list[str]:
    return ["".join(text for text, _ in line) for line in drawing(scene, width=width, height=height)]


def attempt(number: int, outcome: str, code: int | None, lost: float = 0.0) -> AttemptState:
    return AttemptState(number, 0.0, None, outcome, code, 7, "host", 60.0, lost)


def scene(phases: int = 3) -> Scene:
    done = [
        PhaseState(f"done{i}", "map", "completed", 82, 1, 82, 0.0, 82) for i in range(phases - 2)
    ]  # one unit failed in each
    now = PhaseState("fit", "range", "running", 40, 0, 100, 120.0, 41)
    later = PhaseState("assess", None, "new", 0, 0, None, None, 0)
    attempts = (attempt(1, "killed", None, 2.5), attempt(2, "stopped", 130), attempt(3, "running", None))
    seen = Overview(
        "/runs/big", "train.py", "running", (*done, now, later), 3, 50.0, 4.0, True, 0.004, 0.01, 120.0, 7, "host",
        phases - 2, 0, 2.5, 30.0, 90.0, {"database": 10}, {"samples": 5}, attempts,
    )  # fmt: skip
    curves = tuple(Curve(f"m{i}", tuple(range(50)), tuple(float(i * j) for j in range(50))) for i in range(6))
    events = tuple(Event(float(i), 3, "unit done", "samples", {"key": f"k{i}"}) for i in range(60))
    return Scene(seen, "fit", curves, (Failure("done0", "AAPL", "ValueError: no prices\nmore", 2),), events)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (60, 20), (200, 60)])
@pytest.mark.parametrize("phases", [3, 30])
def test_a_drawing_has_the_terminals_size_whatever_there_is_to_show(
    width: int, height: int, phases: int
) -> None:
    lines = shown(scene(phases), width, height)
    assert len(lines) == height
    if width >= 80:
        assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "fit" in text and "41/100" in text and "q or Ctrl+C" in lines[-1]


def test_a_drawing_tells_progress_numbers_deaths_costs_failures_and_news() -> None:
    text = "\n".join(shown(replace(scene(), seen=replace(scene().seen, failed=7)), 80, 24))
    assert "2.0 s each, 2 min left" in text
    assert "latest in fit" in text and "▁" in text and "█" in text
    assert "4.0 s ago" in text
    assert "#1 killed (lost 2.5 s)" in text and "#2 Ctrl+C" in text and "#3 running" in text
    assert "saved 1 min 30 s of work" in text
    assert "budget 1.0%" in text
    assert "done0 AAPL: ValueError: no prices" in text and "and 6 more" in text
    assert "unit done: samples k59" in text and "k0" not in text


def test_more_room_shows_more_of_the_journal_and_all_numbers() -> None:
    small, large = ("\n".join(shown(scene(), *size)) for size in ((80, 24), (120, 60)))
    assert small.count("unit done") < large.count("unit done")
    assert "m5" in large and "and" in small and "more: `perdure history`" in small


def test_names_cannot_drive_the_terminal() -> None:
    hostile = replace(
        scene(), loop="fit\x1b]0;x\x07", failures=(Failure("p\x1b[2J", "k\n", "bad\x1b[31m", 1),),
        events=(Event(0.0, 1, "unit failed", "s\x1b[2J", {"key": "x", "reason": "\x1b[31m"}),),
    )  # fmt: skip
    hostile = replace(hostile, curves=(Curve("two\nlines", (0.0, 1.0), (0.0, 1.0)),))
    text = "".join(shown(hostile, 100, 40))
    assert "\x1b" not in text and "\n" not in text and "two\\nlines" in text


def test_a_sparkline_runs_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0.0, 1.0, 3.0, 7.0]) == "▁▂▄█"
    assert len(set(sparkline([2.0, 2.0, 2.0]))) == 1
    assert len(sparkline([-1.7e308, 1.7e308])) == 2, "their range has no length that can be computed"


def test_a_recorded_run_is_looked_at_with_its_numbers_and_journal(run: Path) -> None:
    found = look(run)
    assert found.loop == "train"
    assert {curve.name: curve.values for curve in found.curves}["score"] == (0.0, 1.0, 2.0, 3.0)
    assert found.events[-1].event == "attempt ended"
    assert look(run.parent).seen.state == "new"


# -- on a terminal -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["q", "Ctrl+C", "SIGTERM"])
def test_a_watched_terminal_gets_its_screen_back_and_keeps_the_last_status(how: str, run: Path) -> None:
    master, slave = pty.openpty()
    child = subprocess.Popen(
        command(["status", "--watch", run]), env=environment(COLUMNS="80", LINES="24", TERM="xterm"),
        stdout=slave, stderr=slave, stdin=slave,
    )  # fmt: skip
    os.close(slave)
    seen = bytearray()
    reader = threading.Thread(target=_drain, args=(master, seen), daemon=True)
    reader.start()
    wait_for(lambda: seen.count(b"overhead") >= 2)
    end: dict[str, Callable[[], object]] = {
        "q": lambda: os.write(master, b"q"),
        "Ctrl+C": lambda: child.send_signal(signal.SIGINT),
        "SIGTERM": lambda: child.send_signal(signal.SIGTERM),
    }
    end[how]()
    assert child.wait(timeout=60) == 0
    reader.join(timeout=10)
    assert b"Traceback" not in seen
    before, _, after = bytes(seen).partition(b"\x1b[?1049l")
    assert b"\x1b[?1049h" in before
    assert b"completed" in after and b"overhead" in after


def _drain(descriptor: int, seen: bytearray) -> None:
    try:
        while chunk := os.read(descriptor, 4096):
            seen += chunk
    except OSError:
        pass  # the terminal is gone with its last user


def test_watching_elsewhere_than_on_a_terminal_prints_until_the_process_is_gone(tmp_path: Path) -> None:
    script(tmp_path, LONG)
    child = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = tmp_path / "runs" / "long"
    try:
        wait_for(lambda: (folder / "run.db").exists() and answer("status", folder)["last_saved_at"])
        watching = started("status", "--watch", folder, folder=tmp_path)
        assert watching.stdout is not None
        assert "running" in watching.stdout.readline()
    finally:
        child.kill()
        child.wait()
    rest, _ = watching.communicate(timeout=60)
    assert watching.returncode == 0
    assert "stopped" in rest and "\x1b" not in rest


def test_a_run_that_is_removed_while_it_is_watched_is_said_to_be_gone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is gone"):
        look(tmp_path / "removed")
