"""Signals, closed pipes and vanished parents, against real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from perdure.console import Console
from perdure.errors import Stopped
from perdure.signals import Signals
from processes import SCRIPTS, digest, environment, finish, rows, start_script

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")


def begun(folder: Path, kind: str, **variables: str) -> subprocess.Popen[str]:
    """A slow script that has said that it is at work."""
    process = start_script("slow.py", folder, SLOW=kind, **variables)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    finish("slow.py", folder, SLOW_NAP="0")
    return folder


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_in_a_loop_saves_says_how_to_go_on_and_nothing_is_lost(
    tmp_path: Path, reference: Path, number: signal.Signals, code: int
) -> None:
    process = begun(tmp_path / "run", "loop")
    process.send_signal(number)
    found, said = ended(process)
    assert found == code, said
    assert (
        "saving at the next point" in said and "the same command goes on" in said and "Traceback" not in said
    )
    (saved,) = rows(
        tmp_path / "run", "SELECT position, stream, batch FROM snapshots ORDER BY generation DESC LIMIT 1"
    )
    assert saved >= (1, 1, 1)  # within the second iteration, between two batches
    assert rows(tmp_path / "run", "SELECT outcome, exit_code FROM attempts") == [("stopped", code)]
    again = finish("slow.py", tmp_path / "run", SLOW_NAP="0")
    assert "resuming at iteration" in again.stderr
    assert digest(tmp_path / "run") == digest(reference)


def test_a_terminal_that_closes_may_say_so_twice(tmp_path: Path, reference: Path) -> None:
    process = begun(tmp_path / "run", "loop")
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert code == 129 and "the same command goes on" in said, said


def test_a_second_interrupt_stops_at_once(tmp_path: Path) -> None:
    process = begun(tmp_path / "run", "stuck")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    code, said = ended(process)
    assert code == 130 and "stopped at once; what was saved is intact" in said, said


def test_an_interrupt_while_python_ends_after_the_first_changes_nothing(tmp_path: Path) -> None:
    script = tmp_path / "late.py"
    script.write_text(
        "import atexit, os, signal, time, perdure\n"
        "def clean_up():\n"
        "    print('leaving', flush=True)\n"
        "    time.sleep(0.5)\n"
        "def interrupted():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(60)\n"
        "atexit.register(clean_up)  # as libraries do\n"
        "with perdure.open('r') as run:\n"
        "    run.step('nap', interrupted)\n"
    )
    process = subprocess.Popen(
        [sys.executable, script], env=environment(tmp_path / "run"), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "leaving\n"
    process.send_signal(signal.SIGINT)
    code, said = ended(process)
    assert code == 130 and said.endswith("the same command goes on from here\n"), said


def test_an_iteration_that_outlasts_the_grace_is_cut_off_in_order(tmp_path: Path) -> None:
    process = begun(tmp_path / "run", "stuck", PERDURE_GRACE="0.5")
    process.send_signal(signal.SIGTERM)
    code, said = ended(process)
    assert code == 143 and "stopped at once" in said, said


@pytest.mark.parametrize(("kind", "name"), [("step", "nap"), ("each", "units/b")])
def test_a_long_step_or_unit_is_discarded_and_that_is_said(tmp_path: Path, kind: str, name: str) -> None:
    process = begun(tmp_path / "run", kind)
    if kind == "each":
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    code, said = ended(process)
    assert code == 130 and f"{name}: discarded; it starts again next time" in said, said
    done = rows(tmp_path / "run", "SELECT key FROM units WHERE state = 'done'")
    assert done == ([("a",)] if kind == "each" else [])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_driver(tmp_path: Path, number: signal.Signals) -> None:
    process = begun(tmp_path / "run", "map")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (
        (tmp_path / "run" / "run.db").exists()
        and rows(tmp_path / "run", "SELECT 1 FROM units WHERE state = 'done'")
    ):
        time.sleep(0.05)
    workers = psutil.Process(process.pid).children(recursive=True)
    assert len(workers) >= 2
    process.send_signal(number)
    code, said = ended(process)
    assert code == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number], said
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    if code > 0:
        assert "second, third discarded" in said or "discarded" in said
    assert rows(tmp_path / "run", "SELECT key FROM units WHERE state = 'done'") == [("first",)]


def test_a_signal_between_two_iterations_loses_none(tmp_path: Path) -> None:
    """The moment after the body and before the next one: the iteration counts and is saved."""
    script = tmp_path / "between.py"
    script.write_text(
        "import os, signal, numpy as np, perdure\n"
        "import perdure.loop as loop_module\n"
        "def passing(name):\n"
        "    if name == 'iteration.end' and w[0] == 3: os.kill(os.getpid(), signal.SIGINT)\n"
        "loop_module.seam = passing\n"
        "w = np.zeros(1)\n"
        "with perdure.open('r') as run:\n"
        "    for position in run.range('epoch', 6, state={'w': w}, every='1h'):\n"
        "        w += 1\n"
    )
    done = subprocess.run(
        [sys.executable, script], env=environment(tmp_path / "run"), capture_output=True, text=True
    )
    assert done.returncode == 130, done.stderr
    assert rows(tmp_path / "run", "SELECT position FROM snapshots") == [(3,)]


@pytest.mark.crash
@pytest.mark.timeout(900)
def test_two_interrupts_at_any_distance_leave_a_run_that_goes_on(tmp_path: Path, reference: Path) -> None:
    for number in range(16):
        folder = tmp_path / f"run-{number}"
        process = begun(folder, "loop", SLOW_NAP="0.01")
        process.send_signal(signal.SIGINT)
        time.sleep(0.002 * number)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
        assert code in {130, -2}, said
        finish("slow.py", folder, SLOW_NAP="0")
        assert digest(folder) == digest(reference)


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_moment_leaves_a_run_that_goes_on(
    tmp_path: Path, reference: Path, number: signal.Signals
) -> None:
    for step in range(30):
        folder = tmp_path / f"run-{step}"
        process = start_script("slow.py", folder, SLOW_NAP="0.005")
        time.sleep(0.03 * step)
        process.send_signal(number)
        code, said = ended(process)
        assert code in {0, 128 + number, -number, 1}, said
        finish("slow.py", folder, SLOW_NAP="0")
        assert digest(folder) == digest(reference)


# -- printing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "redirected", ["| head -c 5", "2>&1 | head -c 5", ">&-", "2>&-", ">&- 2>&-", "> /dev/full"]
)
def test_nobody_dies_in_print(tmp_path: Path, redirected: str) -> None:
    script = f'"{sys.executable}" "{SCRIPTS / "slow.py"}"'
    command = f'{script} {redirected}; echo "${{PIPESTATUS[0]}}" > {tmp_path / "code"}'
    subprocess.run(
        ["bash", "-c", command],
        env=environment(tmp_path / "run", SLOW="chatty"),
        capture_output=True,
        timeout=60,
    )
    assert (tmp_path / "code").read_text() == "0\n"
    log = (tmp_path / "run" / "run.log").read_text()
    assert "line 2 xxx" in log and "done in" in log


def test_a_run_outlives_the_process_that_started_it(tmp_path: Path, reference: Path) -> None:
    command = f'"{sys.executable}" "{SCRIPTS / "slow.py"}" & read line < <(sleep 1); exit'
    process = subprocess.Popen(
        ["bash", "-c", command], env=environment(tmp_path / "run", SLOW_NAP="0.1"), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    process.wait(timeout=30)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        time.sleep(0.2)
        if (tmp_path / "run" / "run.db").exists() and rows(
            tmp_path / "run", "SELECT 1 FROM attempts WHERE outcome = 'completed'"
        ):
            break
    assert digest(tmp_path / "run") == digest(reference)


# -- in this process -------------------------------------------------------------------------------------------------


def test_a_signal_while_a_line_is_being_printed_is_no_deadlock_and_no_error(tmp_path: Path) -> None:
    console = Console(tmp_path / "run.log")
    said: list[str] = []
    signals = Signals(grace=1, tell=lambda text: (console.say(text), said.append(text)))
    try:
        signals.waits_for_save_point = True
        with console._mutex:
            os.kill(os.getpid(), signal.SIGINT)
            for _ in range(100):
                time.sleep(0.001)
        assert said and signals.requested == signal.SIGINT
        assert str(signals.stopped().code) == "130"
    finally:
        signals.restore()
        console.close()


def test_a_block_that_is_to_finish_first_does(tmp_path: Path) -> None:
    signals = Signals(grace=60, tell=lambda _: None)
    done = []
    try:
        with pytest.raises(Stopped) as caught, signals.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)
            done.append(1)
        assert done and caught.value.code == 143
    finally:
        signals.restore()
    assert signals._timer is not None
    signals._timer.join(5)
    assert threading.current_thread() is threading.main_thread()  # and this process still runs


def test_the_signals_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    Signals(grace=1, tell=lambda _: None).restore()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_a_hang_up_that_was_ignored_before_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals = Signals(grace=1, tell=lambda _: None)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        signals.restore()
    finally:
        signal.signal(signal.SIGHUP, before)
