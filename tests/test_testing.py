"""`perdure.testing`: what a user's own tests are made of."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import perdure
from perdure.errors import StorageError, UsageError
from perdure.testing import FakeClock, Script, digest, failing, survives_every_kill
from processes import SOURCE

TEXT = """
import perdure

with perdure.open("runs/units") as run:
    carried = 1
    for unit in run.each("units", UNITS):
        unit.result = {"value": carried}
        CARRY
"""


def script(tmp_path: Path, carry: str = "pass", units: str = "ab") -> Script:
    path = tmp_path / "script.py"
    path.write_text(TEXT.replace("CARRY", carry).replace("UNITS", repr(units)))
    named = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    return Script.of(path, environment={"PYTHONPATH": named}, timeout=120)


def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir(mode=0o700)
    return folder


def test_a_script_that_resumes_well_survives_kills_spread_over_its_seams(tmp_path: Path) -> None:
    assert survives_every_kill(script(tmp_path), runs(tmp_path), kills=1) == 1


def test_a_variable_that_does_not_survive_is_told_with_the_seam_and_the_part(tmp_path: Path) -> None:
    leaking, place = script(tmp_path, "carried += 1", units="abcdef"), runs(tmp_path)
    with pytest.raises(
        AssertionError, match=r"killed at .* other bits in units: unit [b-f].*; `perdure prove`"
    ):
        survives_every_kill(leaking, place, kills=1)


def test_a_script_is_killed_where_it_is_told_to_be_and_goes_on(tmp_path: Path) -> None:
    whole, folder = script(tmp_path), runs(tmp_path)
    passed = whole.seams(folder / "whole")
    assert passed.count("unit.computed") == 2
    assert whole.killed_at(folder / "run", "unit.computed:2").was_killed
    assert "unit b" not in digest(folder / "run")["units"]
    assert "resuming" in whole.finish(folder / "run").err
    assert digest(folder / "run") == digest(folder / "whole")
    with pytest.raises(AssertionError, match=r"was not killed at unit\.computed:9, for it never came there"):
        whole.killed_at(folder / "again", "unit.computed:9")


def test_no_kill_at_all_is_no_check(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="would show nothing"):
        survives_every_kill(script(tmp_path), str(tmp_path), kills=0)


def test_a_script_that_fails_says_so_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended with 1.*ZeroDivisionError"):
        script(tmp_path, "1 / 0").finish(runs(tmp_path) / "run")


@pytest.mark.parametrize(
    "seam",
    [
        "snapshot.sync",
        pytest.param("snapshot.rename", marks=pytest.mark.crash),
        pytest.param("snapshot.folder", marks=pytest.mark.crash),
    ],
)
def test_a_disk_that_fails_at_a_seam_stops_the_run_clearly_and_the_next_start_is_exact(
    tmp_path: Path, seam: str
) -> None:
    here = Script.of(Path(__file__).parent / "scripts" / "leaky.py", environment=script(tmp_path).environment)
    folder = runs(tmp_path)
    ended = here.run(folder / "run", PERDURE_FAIL_AT=f"{seam}:1+=ENOSPC")
    assert ended.code == 74 and "disk is full" in ended.err and "Traceback" not in ended.err, ended.err
    assert [path.name for path in (folder / "run" / "snapshots").rglob("*.tmp")] == []
    here.finish(folder / "run")
    assert len(digest(folder / "run")["epoch"]["w"]) == 64


def test_a_point_that_makes_no_sense_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for name, value in (
        ("KILL_AT", "snapshot.sync:x"),
        ("FAIL_AT", "snapshot.sync:1"),
        ("FAIL_AT", "a:1=ENONSENSE"),
    ):
        ended = script(tmp_path).run(tmp_path / "run", **{f"PERDURE_{name}": value})
        assert ended.code == 1 and "write it like" in ended.err
        assert not (tmp_path / "run").exists()


def train(folder: Path, clock: FakeClock | None = None, seconds: float = 0) -> np.ndarray:
    w = np.zeros(2)
    with perdure.open(folder, budget=None, clock=clock) as run:
        for _ in run.range("epoch", 4, state={"w": w}, every="60s", version="1"):
            w += np.random.rand(2)
            if clock is not None:
                clock.advance(seconds)
    return w


@pytest.mark.parametrize(("call", "error"), [("fsync", "EIO"), ("rename", "ENOSPC"), ("write", "ENOSPC")])
def test_a_call_may_fail_and_the_run_goes_on_from_what_was_saved(
    tmp_path: Path, call: str, error: str
) -> None:
    expected = train(tmp_path / "whole")
    with failing(call, number=1 << 30) as seen:
        train(tmp_path / "counted")
    assert seen.calls > 2 and seen.failed == 0
    for number in range(1, seen.calls + 1, 4):
        folder = tmp_path / f"run-{number}"
        with failing(call, number=number, error=error) as failed:
            try:
                train(folder)
            except (StorageError, OSError) as problem:
                assert error in str(problem) or getattr(problem, "errno", None) == getattr(errno, error)
        assert failed.failed == 1
        np.testing.assert_array_equal(train(folder), expected)


def test_a_call_fails_onward_when_the_disk_stays_bad(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with failing("unlink", number=2, error="EIO", onward=True) as seen:
        file.unlink()
        for _ in range(2):
            with pytest.raises(OSError, match="Errno 5"):
                file.unlink()
    assert (seen.calls, seen.failed) == (3, 2)


def test_calls_are_as_they_were_after_the_block_and_unknown_ones_are_refused() -> None:
    before = os.fsync, os.replace
    with pytest.raises(ZeroDivisionError), failing("fsync"):
        raise ZeroDivisionError
    assert (os.fsync, os.replace) == before
    for call, error in (("fsink", "EIO"), ("fsync", "EUNKNOWN")):
        with pytest.raises(ValueError, match="failing"), failing(call, error=error):
            pass


def saves(folder: Path) -> int:
    from perdure.store.database import Reader

    reader = Reader(folder / "run.db")
    try:
        return int(reader.rows("SELECT count(*) FROM snapshots")[0][0])
    finally:
        reader.close()


def test_a_clock_that_is_moved_decides_what_is_due_and_never_the_bits(tmp_path: Path) -> None:
    still, quick = train(tmp_path / "still", FakeClock(), 0), train(tmp_path / "quick", FakeClock(), 61)
    np.testing.assert_array_equal(still, quick)
    assert (saves(tmp_path / "still"), saves(tmp_path / "quick")) == (1, 4)


def test_time_goes_on_for_both_clocks_and_not_back() -> None:
    clock = FakeClock()
    clock.advance(5)
    clock.wall -= 100
    assert (clock.now(), clock.monotonic()) == (1_000_000 - 95, 5)
    with pytest.raises(ValueError, match="cannot pass"):
        clock.advance(-1)


def test_importing_it_is_light() -> None:
    code = (
        "import sys, perdure.testing\n"
        "print([n for n in ('numpy', 'sqlite3', 'psutil', 'typer', 'rich', 'pytest') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr + done.stdout
