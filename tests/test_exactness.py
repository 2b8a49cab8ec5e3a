"""The product's promise: killed anywhere and rerun, a run ends with the bits of an uninterrupted one."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from processes import KILLED, digest, finish, rows, run_script, seams, start_script


def test_a_raw_loop_killed_at_each_named_seam_ends_with_the_same_bits(tmp_path: Path) -> None:
    passed = seams("raw_loop.py", tmp_path / "reference", tmp_path / "seams")
    expected, printed = digest(tmp_path / "reference"), finish("raw_loop.py", tmp_path / "reference").stdout
    for number, name in enumerate(sorted(set(passed))):
        folder = tmp_path / f"killed-{number}"
        middle = (passed.count(name) + 1) // 2
        assert run_script("raw_loop.py", folder, PERDURE_KILL_AT=f"{name}:{middle}").returncode == KILLED, (
            name
        )
        assert finish("raw_loop.py", folder).stdout == printed, name
        assert digest(folder) == expected, name


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("script", ["raw_loop.py", "units.py"])
def test_a_script_killed_at_every_seam_ends_with_the_same_bits(tmp_path: Path, script: str) -> None:
    passed = seams(script, tmp_path / "reference", tmp_path / "seams")
    expected = digest(tmp_path / "reference")
    for number, name in enumerate(passed, start=1):
        folder = tmp_path / f"killed-{number}"
        killed = run_script(script, folder, PERDURE_KILL_AT=f"#{number}")
        # pulses pass seams too, at times that differ between runs; then there are fewer than in the reference
        assert killed.returncode == KILLED or number > len(passed) - 20, (number, name, killed.stderr)
        finish(script, folder)
        assert digest(folder) == expected, (number, name)


def test_a_run_killed_twice_in_a_row_at_the_same_seam_still_ends_with_the_same_bits(tmp_path: Path) -> None:
    finish("raw_loop.py", tmp_path / "reference")
    folder = tmp_path / "killed"
    for seam in (
        "snapshot.rename:2",
        "snapshot.rename:2",
        "commit.before:2",
        "batch.end:3",
        "snapshot.folder:1",
    ):
        assert run_script("raw_loop.py", folder, PERDURE_KILL_AT=seam).returncode == KILLED, seam
    finish("raw_loop.py", folder)
    assert digest(folder) == digest(tmp_path / "reference")


@pytest.mark.crash
@pytest.mark.timeout(900)
@pytest.mark.parametrize("script", ["raw_loop.py", "units.py"])
def test_a_script_killed_twenty_times_at_random_moments_ends_with_the_same_bits(
    tmp_path: Path, script: str
) -> None:
    finish(script, tmp_path / "reference")
    folder, chance = tmp_path / "killed", random.Random(1)
    for _ in range(20):
        process = start_script(script, folder)
        try:
            process.wait(chance.uniform(0.1, 1.2))
        except Exception:
            process.kill()
        process.communicate()
    finish(script, folder)
    assert digest(folder) == digest(tmp_path / "reference")


def test_units_killed_at_each_named_seam_end_with_the_same_bits_and_rows(tmp_path: Path) -> None:
    passed = seams("units.py", tmp_path / "reference", tmp_path / "seams")
    expected = digest(tmp_path / "reference")
    table = rows(tmp_path / "reference", "SELECT * FROM samples ORDER BY _position, _row")
    assert len(table) == 9
    for number, name in enumerate(sorted(set(passed))):
        folder = tmp_path / f"killed-{number}"
        middle = (passed.count(name) + 1) // 2
        assert run_script("units.py", folder, PERDURE_KILL_AT=f"{name}:{middle}").returncode == KILLED, name
        finish("units.py", folder)
        assert digest(folder) == expected, name
        assert rows(folder, "SELECT * FROM samples ORDER BY _position, _row") == table, name


def test_a_finished_run_computes_nothing_again(tmp_path: Path) -> None:
    first = finish("units.py", tmp_path / "run")
    before = rows(
        tmp_path / "run", "SELECT max(seq) FROM journal WHERE event LIKE '%done' OR event LIKE 'loop%'"
    )
    again = finish("units.py", tmp_path / "run")
    assert again.stdout == first.stdout
    assert (
        rows(tmp_path / "run", "SELECT max(seq) FROM journal WHERE event LIKE '%done' OR event LIKE 'loop%'")
        == before
    )


def test_history_is_complete_and_holds_no_entry_twice_after_a_kill_between_two_batches(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "run"
    assert run_script("raw_loop.py", folder, PERDURE_KILL_AT="batch.end:6").returncode == KILLED
    finish("raw_loop.py", folder)
    positions = [
        row[0] for row in rows(folder, "SELECT position FROM history WHERE loop = 'epoch' ORDER BY seq")
    ]
    assert positions == [0, 0, 1, 1, 2, 2, 3, 3]
    assert rows(folder, "SELECT count(*) FROM seen_rows") == [(12,)]
