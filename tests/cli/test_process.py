"""`status`, `logs` and `stop`: on completed, killed, empty and living runs."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path

import pytest

import perdure as library
from command_line import (
    LONG,
    WHOLE,
    answer,
    environment,
    perdure,
    process,
    script,
    started,
    wait_for,
)
from perdure.overview import seconds_each
from perdure.store.lock import Holder, read_holder

KEYS = {"run", "target", "state", "phases", "attempts", "last_saved_at", "alive", "overhead"}
PHASE_KEYS = {"name", "kind", "state", "done", "failed", "total", "eta_s"}


@pytest.fixture
def living(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A run whose process trains; it is killed at the end, if a test has not ended it."""
    monkeypatch.chdir(tmp_path)
    script(tmp_path, LONG)
    child = subprocess.Popen(
        [sys.executable, "script.py"], cwd=tmp_path, env=environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    folder = tmp_path / "runs" / "long"
    wait_for(lambda: (folder / "run.db").exists() and answer("status", folder)["last_saved_at"])
    yield folder, child
    child.kill()
    child.wait()


def test_status_of_a_completed_run_has_the_promised_keys(run: Path) -> None:
    document = answer("status", run)
    assert document.keys() >= KEYS
    assert document["state"] == "completed" and document["alive"] is False and document["attempts"] == 1
    assert all(phase.keys() >= PHASE_KEYS for phase in document["phases"])
    seen = {phase["name"]: (phase["kind"], phase["done"], phase["total"]) for phase in document["phases"]}
    assert seen == {"prepare": ("step", 1, 1), "samples": ("map", 3, 3), "train": ("range", 4, 4)}
    assert document["tables"] == {"samples": 6, "notes": 4}
    assert document["bytes"]["snapshots"] > 0


def test_status_for_people_fits_80_columns(run: Path) -> None:
    result = perdure("status", run)
    assert "completed" in result.stdout and "samples" in result.stdout and "overhead" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    facts = "".join(result.stdout.split())
    assert f"folder{run}" in facts and "…" not in facts, "what is long goes on below"


def test_an_empty_folder_is_a_new_run(tmp_path: Path) -> None:
    assert answer("status", tmp_path)["state"] == "new"
    assert list(tmp_path.iterdir()) == []


def test_status_of_a_living_run_shows_progress_and_an_estimate(living) -> None:
    folder, child = living
    wait_for(lambda: answer("status", folder)["phases"][0]["done"] >= 3)
    document = answer("status", folder)
    assert document["state"] == "running" and document["alive"] is True and document["pid"] == child.pid
    phase = document["phases"][0]
    assert phase["state"] == "running" and phase["total"] == 2000
    assert 0 < phase["eta_s"] < 2000 * 10
    assert document["last_saved_age_s"] < 60
    assert "alive" in perdure("status", folder).stdout


def test_a_killed_run_is_stopped_and_its_lost_work_is_told(living) -> None:
    folder, child = living
    child.kill()
    child.wait()
    document = answer("status", folder)
    assert document["state"] == "stopped" and document["alive"] is False
    assert document["phases"][0]["state"] == "stopped" and document["phases"][0]["done"] >= 1


@pytest.mark.parametrize("words", [("backup",), ("reset",), ("clean",), ("verify", "--repair")])
def test_a_run_that_is_held_is_not_touched(words: tuple[str, ...], living) -> None:
    folder, child = living
    document = answer(*words, folder, code=75)
    assert str(child.pid) in document["error"]
    assert answer("status", folder)["alive"] is True


def test_a_living_run_verifies(living) -> None:
    folder, _ = living
    assert answer("verify", folder)["ok"] is True


def test_stop_lets_the_process_save_and_waits_for_it(living) -> None:
    folder, child = living
    threading.Thread(target=child.wait, daemon=True).start()  # a parent that takes note, as a shell does
    document = answer("stop", folder)
    assert document == {"run": str(folder), "pid": child.pid, "stopped": True}
    assert child.wait() == 143
    assert answer("status", folder)["state"] == "stopped"
    assert answer("status", folder)["attempt_log"][-1]["exit_code"] == 143


def test_stop_refuses_when_nobody_works(run: Path) -> None:
    result = perdure("stop", run)
    assert result.exit_code == 2
    assert "no process" in result.stderr


def test_stop_never_signals_a_process_that_only_has_the_number(run: Path) -> None:
    holder = asdict(Holder.this_process(now=0.0)) | {"process_started": 1.0}
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        (run / "lock").write_text(json.dumps(holder | {"pid": bystander.pid}))
        assert perdure("stop", run).exit_code == 2
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_stop_says_so_when_the_process_does_not_end(living) -> None:
    folder, child = living
    child.send_signal(signal.SIGSTOP)
    try:
        document = answer("stop", folder, "--timeout", "0.2", code=1)
    finally:
        child.send_signal(signal.SIGCONT)
    assert document["stopped"] is False


def test_logs_show_all_attempts_without_control_characters(run: Path) -> None:
    with (run / "run.log").open("a") as log:
        log.write("colour \x1b[31mred\nbar 10%\rbar 20%\n\ttabbed\n")
    shown = perdure("logs", run).stdout.splitlines()
    assert shown[0].startswith("perdure: fresh start")
    assert shown[-3:] == ["colour \\x1b[31mred", "bar 20%", "    tabbed"]
    assert answer("logs", run, "-n", "2")["lines"] == ["bar 20%", "    tabbed"]
    assert answer("logs", run, "-n", "0")["lines"] == []


def test_following_logs_shows_new_lines_and_ends_with_the_process(living) -> None:
    folder, child = living
    following = started("logs", "-f", folder, folder=folder.parent)
    assert following.stdout is not None
    while "epoch 5" not in following.stdout.readline():
        pass
    child.send_signal(signal.SIGTERM)
    child.wait()
    rest, _ = following.communicate(timeout=60)
    assert following.returncode == 0
    assert "stopped by SIGTERM" in rest


def test_a_run_without_a_log_says_so(tmp_path: Path) -> None:
    assert "no run.log" in perdure("logs", tmp_path).stderr


def test_a_resumed_run_tells_what_resuming_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = script(tmp_path, LONG.replace("2000", "14").replace("0.05", "0.1"))
    first = started("run", path, folder=tmp_path)
    folder = tmp_path / "runs" / "long"
    wait_for(lambda: (folder / "run.db").exists() and answer("status", folder)["phases"])
    wait_for(lambda: answer("status", folder)["phases"][0]["done"] >= 5)
    holder = read_holder(folder / "lock")
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    assert first.wait(timeout=60) == 137
    assert process("run", path, folder=tmp_path).returncode == 0
    document = answer("status", folder)
    assert document["state"] == "completed" and document["attempts"] == 2
    assert document["saved_s"] > 0
    assert [attempt["outcome"] for attempt in document["attempt_log"]] == ["killed", "completed"]


def test_failed_units_are_counted_and_named_harmlessly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    script(tmp_path, WHOLE)
    result = process("run", "script.py", "bad", folder=tmp_path)
    assert result.returncode == 3, result.stderr
    document = answer("status")
    assert document["state"] == "completed" and document["failed"] == 1
    assert {phase["name"]: phase["failed"] for phase in document["phases"]}["samples"] == 1
    reasons = perdure("sql", tmp_path / "runs" / "whole", "select reason from units where state = 'failed'")
    assert "\x1b" not in reasons.stdout and "\\x1b[31m" in reasons.stdout


def test_a_rate_leaves_out_interruptions_and_a_sleeping_machine() -> None:
    marks = [(1, 0, 0.0), (1, 1, 2.0), (1, 2, 4.0), (1, 3, 9000.0), (2, 3, 20000.0), (2, 4, 20002.0)]
    assert seconds_each(marks) == 2.0
    assert seconds_each([(1, 0, 0.0), (2, 1, 5.0)]) is None


def test_numbers_that_were_written_together_tell_the_pace_before_the_first_save(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), library.open(tmp_path / "run", budget=None) as run:
        for _ in run.range("epoch", 100, version="1"):
            raise ZeroDivisionError
    with sqlite3.connect(tmp_path / "run" / "run.db") as connection:
        rows = [(n, n, 100.0 + 2 * (n // 10)) for n in range(20)]  # ten iterations each two seconds
        connection.executemany("INSERT INTO history VALUES ('epoch', ?, ?, '{}', ?, 1)", rows)
    connection.close()
    assert answer("status", tmp_path / "run")["phases"][0]["eta_s"] == pytest.approx(80 * 0.2)
