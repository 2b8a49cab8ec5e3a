"""A unit may crash, hang or be killed; the pool, the driver and the other units go on."""

from __future__ import annotations

import functools
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from executors import pool_units
from perdure.errors import UsageError
from perdure.executors import Call, Outcome, ProcessPool, process_pool
from perdure.executors.message import pack

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="process groups and signals are POSIX")


@pytest.fixture
def pool() -> Iterator[ProcessPool]:
    found = ProcessPool(pool_units.act, workers=1, timeout=60.0)
    yield found
    found.close()


def all_of(pool: ProcessPool, *calls: Call) -> dict[str, Outcome]:
    for call in calls:
        pool.submit(call)
    outcomes: dict[str, Outcome] = {}
    while pool.pending or pool.running:
        for outcome in pool.wait():
            outcomes[outcome.key] = outcome
    return outcomes


def run_in(pool: ProcessPool, argument: object) -> Outcome:
    return all_of(pool, Call("unit", argument))["unit"]


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie that nobody has reaped yet does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def gone(pids: list[int], within: float = 20.0) -> bool:
    end = time.monotonic() + within
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# --- what ends a unit --------------------------------------------------------------------------------------


def test_a_thousand_calls_give_a_thousand_values():
    pool = ProcessPool(pool_units.echo, workers=2, timeout=60.0)
    try:
        outcomes = all_of(pool, *(Call(f"k{i}", i) for i in range(1000)))
    finally:
        pool.close()
    assert {key: outcome.value for key, outcome in outcomes.items()} == {
        f"k{i}": (f"k{i}", i) for i in range(1000)
    }
    assert all(outcome.failure is None and outcome.traceback == "" for outcome in outcomes.values())


@POSIX
@pytest.mark.parametrize(
    ("deed", "failure"),
    [
        ("segfault", "killed by signal 11 (SIGSEGV)"),
        ("kill", "killed by signal 9 (SIGKILL)"),
        ("exit", "the worker process ended with exit code 3"),
        ("sys.exit", "SystemExit: 4"),
        ("raise", "ValueError: no such symbol"),
    ],
)
def test_a_unit_that_ends_badly_is_described_and_the_next_one_runs(pool, deed, failure):
    outcomes = all_of(pool, Call("before", 1), Call("bad", deed), Call("after", 2))
    assert outcomes["bad"].failure == failure
    assert outcomes["bad"].retryable
    assert (outcomes["before"].value, outcomes["after"].value) == (1, 2)


def test_a_traceback_shows_the_units_code_and_not_the_pools(pool):
    traceback = run_in(pool, "raise").traceback
    assert "in act" in traceback
    assert "second line" in traceback
    assert "worker.py" not in traceback


def test_a_unit_that_raises_does_not_cost_its_worker(pool):
    first = run_in(pool, "pid").value
    run_in(pool, "raise")
    assert run_in(pool, "pid").value == first


@pytest.mark.parametrize("deed", ["unpicklable", "unreadable", "misuse"])
def test_what_must_fail_again_is_not_worth_another_try(pool, deed):
    outcome = run_in(pool, deed)
    assert outcome.failure is not None
    assert not outcome.retryable
    assert run_in(pool, 7).value == 7


def test_an_argument_that_cannot_be_sent_fails_its_unit_only(pool):
    outcomes = all_of(pool, Call("bad", lambda: 0), Call("good", 1))
    assert "argument cannot be sent" in outcomes["bad"].failure
    assert outcomes["good"].value == 1


@POSIX
@pytest.mark.parametrize("deed", ["sleep", "hold the GIL", "ignore SIGTERM"])
def test_a_unit_that_hangs_is_killed_at_its_time_limit(deed):
    pool = ProcessPool(pool_units.act, workers=1, timeout=0.5)
    try:
        outcomes = all_of(pool, Call("hung", deed), Call("after", 1))
        assert outcomes["hung"].failure == "timed out after 0.5 s"
        assert outcomes["hung"].seconds >= 0.5
        assert outcomes["after"].value == 1
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.5, "0.5 s"), (90, "1.5 min"), (600, "10 min"), (7200, "2 h")]
)
def test_a_time_limit_is_told_in_the_units_people_use(seconds, text):
    assert process_pool._duration(seconds) == text


@POSIX
def test_a_kill_for_want_of_memory_is_told_as_that(pool, monkeypatch):
    counts = iter([10**9, 10**9])
    monkeypatch.setattr(process_pool, "_oom_kills", lambda: next(counts))
    assert run_in(pool, "kill").failure == "ran out of memory (killed by signal 9)"
    assert run_in(pool, "kill").failure == "killed by signal 9 (SIGKILL)"


# --- the pool ----------------------------------------------------------------------------------------------


def test_waiting_ends_after_its_timeout_and_when_there_is_nothing_to_wait_for(pool):
    assert pool.wait() == []
    pool.submit(Call("a", "sleep"))
    pool.submit(Call("b", 1))
    assert pool.wait(0.01) == []
    while not pool.running:
        pool.wait(0.05)
    assert (pool.running, pool.pending) == (["a"], ["b"])
    pool.close()
    assert (pool.running, pool.pending) == ([], [])
    assert pool.wait() == []


def test_no_more_workers_are_started_than_there_is_work():
    pool = ProcessPool(pool_units.act, workers=8, timeout=60.0)
    try:
        run_in(pool, 1)
        run_in(pool, 2)
        assert len(pool._workers) == 1
    finally:
        pool.close()


@POSIX
def test_an_interrupt_while_waiting_leaves_a_pool_that_can_be_closed(pool):
    pid = run_in(pool, "pid").value
    pool.submit(Call("long", "sleep"))
    timer = threading.Timer(0.2, signal.raise_signal, [signal.SIGINT])
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.wait()
    finally:
        signal.signal(signal.SIGINT, before)
    assert pool.running == ["long"]
    pool.close()
    assert not is_alive(pid)


@pytest.mark.parametrize("function", [lambda key, argument: 0, functools.partial(lambda a, k, x: 0, 1)])
def test_a_function_that_no_worker_could_import_is_refused_at_once(function):
    with pytest.raises(UsageError, match=r"<lambda>.*top level of a module"):
        ProcessPool(function, workers=1, timeout=None)


def test_a_partial_that_binds_a_lambda_is_refused_at_once():
    with pytest.raises(UsageError, match="bind only plain values"):
        ProcessPool(functools.partial(pool_units.describe, lambda: 0), workers=1, timeout=None)


def test_a_function_that_a_worker_cannot_load_is_an_error_with_its_reason():
    pool = ProcessPool(
        functools.partial(pool_units.describe, pool_units.Unreadable()), workers=1, timeout=None
    )
    try:
        pool.submit(Call("a", 1))
        with pytest.raises(UsageError, match="cannot load the function: RuntimeError: refused"):
            pool.wait()
    finally:
        pool.close()


def test_no_workers_is_refused():
    with pytest.raises(UsageError, match="workers=0"):
        ProcessPool(pool_units.echo, workers=0, timeout=None)


# --- workers are on their own, and end with their driver ---------------------------------------------------


@POSIX
def test_a_worker_leads_a_session_and_a_group_of_its_own(pool):
    pid, group, session = run_in(pool, "group").value
    assert pid == group == session
    assert session != os.getsid(0)


def test_workers_know_that_they_are_workers_and_have_no_seams(pool, monkeypatch):
    monkeypatch.setenv("PERDURE_KILL_AT", "never")
    monkeypatch.setenv("PERDURE_SEAM_LOG", "nowhere")
    found = run_in(pool, "environment").value
    assert found["PERDURE_WORKER"] == "1"
    assert not {"PERDURE_KILL_AT", "PERDURE_SEAM_LOG"} & found.keys()
    assert (os.environ["PERDURE_KILL_AT"], os.environ["PERDURE_SEAM_LOG"]) == ("never", "nowhere")
    assert "PERDURE_WORKER" not in os.environ


@POSIX
@pytest.mark.parametrize("deed", ["sleep", "segfault", "exit"])
def test_what_a_unit_started_is_killed_with_it(tmp_path, deed):
    pool = ProcessPool(pool_units.breed, workers=1, timeout=2.0)
    try:
        outcome = all_of(pool, Call(deed, str(tmp_path / "pid")))[deed]
        assert outcome.failure is not None
        assert gone([int((tmp_path / "pid").read_text())])
    finally:
        pool.close()


@POSIX
def test_a_death_is_seen_even_if_a_grandchild_holds_the_pipes(tmp_path):
    pool = ProcessPool(pool_units.fork_and_crash, workers=1, timeout=None)
    try:
        outcome = all_of(pool, Call("unit", str(tmp_path / "pid")))["unit"]
        assert outcome.failure == "the worker process ended with exit code 5"
        assert gone([int((tmp_path / "pid").read_text())])
    finally:
        pool.close()


DRIVER = """
import sys
from perdure.executors import Call, ProcessPool
from executors import pool_units

if __name__ == "__main__":
    pool = ProcessPool(pool_units.act, workers=2, timeout=None)
    pool.submit(Call("a", "pid"))
    pool.submit(Call("b", "pid"))
    while pool.pending or pool.running:
        pool.wait()
    for deed in sys.argv[1:]:
        pool.submit(Call(deed, deed))
    while len(pool.running) < len(sys.argv[1:]):
        pool.wait(0.05)
    print(*(worker.process.pid for worker in pool._workers), flush=True)
    if sys.argv[1:]:
        pool.wait()
"""


def start_driver(folder: Path, *deeds: str, script: str = DRIVER) -> subprocess.Popen[str]:
    (folder / "driver.py").write_text(script)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "driver.py", *deeds],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("deed", ["sleep", "hold the GIL"])
def test_workers_vanish_when_their_driver_is_killed(tmp_path, deed):
    driver = start_driver(tmp_path, deed, deed)
    try:
        pids = [int(word) for word in driver.stdout.readline().split()]
        assert len(pids) == 2
        assert all(is_alive(pid) for pid in pids)
    finally:
        driver.kill()
        driver.communicate()
    assert gone(pids)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_driver_that_forgets_to_close_its_pool_still_ends(tmp_path):
    driver = start_driver(tmp_path)
    output, errors = driver.communicate(timeout=60)
    assert driver.returncode == 0, errors
    assert gone([int(word) for word in output.split()])


def test_a_script_without_the_main_guard_is_told_so(tmp_path):
    script = """
import os
from perdure.errors import MainGuardError
from perdure.executors import Call, ProcessPool
from executors import pool_units

if os.environ.get("PERDURE_WORKER"):
    raise MainGuardError("this is what perdure.open does")
pool = ProcessPool(pool_units.act, workers=1, timeout=None)
pool.submit(Call("a", 1))
try:
    pool.wait()
except MainGuardError as error:
    print(error)
"""
    output, errors = start_driver(tmp_path, script=script).communicate(timeout=60)
    assert "__name__ == '__main__'" in output
    assert "this is what perdure.open does" in errors


def test_what_a_worker_prints_is_seen(tmp_path):
    script = """
from perdure.executors import Call, ProcessPool

if __name__ == "__main__":
    pool = ProcessPool(print, workers=2, timeout=None)
    for key in "ab":
        pool.submit(Call(key, "printed"))
    while pool.running or pool.pending:
        pool.wait()
"""
    output, errors = start_driver(tmp_path, script=script).communicate(timeout=60)
    assert sorted(output.splitlines()) == ["a printed", "b printed"], errors


# --- memory maps -------------------------------------------------------------------------------------------


@pytest.fixture
def matrix(tmp_path) -> np.memmap:
    np.save(tmp_path / "m.npy", np.arange(200_000.0).reshape(1000, 200))
    return np.load(tmp_path / "m.npy", mmap_mode="r")


VIEWS = {
    "whole": lambda m: m,
    "rows": lambda m: m[700:703],
    "rows of rows": lambda m: m[10:][5:7],
    "transposed": lambda m: m[:3].T,
    "as an array": lambda m: np.asarray(m)[1:3],
    "other type": lambda m: m[4].view(np.int64),
}


@pytest.mark.parametrize("name", VIEWS)
def test_a_memory_map_is_sent_as_its_place_and_equals_itself(matrix, name):
    view = VIEWS[name](matrix)
    content = pack(view)
    assert len(content) < 1000
    again = pickle.loads(content)
    assert isinstance(again, np.memmap)
    assert (again.dtype, again.shape, again.flags.f_contiguous) == (
        view.dtype,
        view.shape,
        view.flags.f_contiguous,
    )
    assert np.array_equal(again, view)
    assert not again.flags.writeable


def test_a_map_with_an_offset_of_its_own_is_found_again(tmp_path):
    np.arange(10_000, dtype=np.int32).tofile(tmp_path / "raw")
    view = np.memmap(tmp_path / "raw", np.int32, "r", offset=4 * 5001, shape=(100,))
    again = pickle.loads(pack(view[3:]))
    assert again[0] == 5004
    assert np.array_equal(again, view[3:])


def test_what_is_not_a_plain_read_only_map_is_copied(matrix, tmp_path):
    private = np.load(tmp_path / "m.npy", mmap_mode="c")
    private[0, 0] = -1
    for view in (private, matrix[:10, ::2], matrix[:0]):
        again = pickle.loads(pack(view))
        assert type(again) is np.ndarray
        assert np.array_equal(again, view)


def test_bound_and_given_maps_arrive_in_the_worker_as_maps(matrix, tmp_path):
    expected = ("memmap", str(tmp_path / "m.npy"), matrix[5:6].tolist(), False)
    bound = ProcessPool(functools.partial(pool_units.describe, matrix[5:6]), workers=1, timeout=60.0)
    given = ProcessPool(pool_units.describe_argument, workers=1, timeout=60.0)
    try:
        assert run_in(bound, None).value == expected
        assert run_in(given, matrix[5:6]).value == expected
    finally:
        bound.close()
        given.close()
