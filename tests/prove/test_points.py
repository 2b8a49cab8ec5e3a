"""Kill points are spread over what an uninterrupted run does."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from perdure.errors import UsageError
from perdure.prove import points
from perdure.testing.kills import in_both, passages, spread

PASSED = ["open", *["batch", "save"] * 20, "close"]


def test_each_seam_is_killed_at_when_there_are_kills_enough() -> None:
    chosen = spread(PASSED, 6)
    assert {PASSED[number] for number in chosen} == set(PASSED)
    assert len(chosen) == len(set(chosen)) == 6 and chosen == sorted(chosen)


def test_kills_are_spread_over_the_whole_run() -> None:
    chosen = spread(["batch"] * 100, 10)
    gaps = [after - before for before, after in itertools.pairwise(chosen)]
    assert len(chosen) == 10 and chosen[0] < 12 and chosen[-1] > 87 and max(gaps) <= 22


def test_more_kills_than_seams_kill_at_each_once() -> None:
    assert spread(["a", "b", "a"], 9) == [0, 1, 2]
    assert passages(["a", "b", "a"]) == ["a:1", "b:1", "a:2"]


def test_a_seam_that_only_one_of_two_runs_passed_is_left_out() -> None:
    assert in_both(["a", "b", "a"], ["a", "pulse", "b", "a", "a"]) == ["a", "b", "a"]


def test_some_of_the_kills_hit_one_run_in_a_row() -> None:
    single, row = points.at_seams(PASSED, PASSED, 9)
    assert len(single) + len(row) == 9 and len(row) == 3
    assert {point.label for point in row} == {f"#{len(PASSED) // 4}"}
    assert points.at_seams(PASSED, PASSED, 2)[1] == []


def test_random_moments_are_the_same_each_time_and_within_the_run() -> None:
    single, row = points.at_random(10.0, 9)
    assert (single, row) == points.at_random(10.0, 9)
    assert all(point.after is not None and 0 <= point.after <= 10 for point in single)


TRACE = """\
100 write(2</dev/null>, "x", 1) = 1
100 fsync(5</scratch/now/x/run.db-wal>) = 0
100 clone3({flags=CLONE_VM|CLONE_THREAD, stack=0x7f}, 88 <unfinished ...>
101 fsync(6</scratch/now/x/snapshots/epoch/.00000001.safetensors.0a1b2c3d.tmp> <unfinished ...>
100 <... clone3 resumed> => {parent_tid=[101]}, 88) = 101
100 write(4</scratch/now/x/run.log>, "a", 1) = 1
101 <... fsync resumed>) = 0
101 rename("/scratch/now/x/snapshots/e/.1.safetensors.0a1b2c3d.tmp", "/scratch/now/x/snapshots/e/1.safetensors") = 0
100 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 200
200 write(3</scratch/now/x/cache/y>, "b", 1) = 1
"""


def test_system_calls_are_those_of_the_driver_in_its_folder_counted_by_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(points, "_strace", lambda: "strace")
    log = tmp_path / "log"
    log.write_text(TRACE)
    single, row = points.at_calls(log, Path("/scratch/now/x"), 5)
    assert row == []
    assert [point.label for point in single] == [
        "fsync 1 (run.db-wal)", "write 2 (run.log)", "rename 1 (snapshots/e/1.safetensors)",
    ]  # fmt: skip
    assert single[1].prefix[-1] == "inject=write:signal=KILL:when=2"


def test_without_strace_the_answer_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match="strace, which is not installed"):
        points.watch(tmp_path / "log")
