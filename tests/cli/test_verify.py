"""`verify`, `digest` and `why`."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import LONG, answer, perdure, process, script, started, wait_for
from perdure.store.lock import read_holder


def newest_snapshot(run: Path) -> Path:
    return max((run / "snapshots" / "train").glob("*.safetensors"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change(run: Path, sql: str) -> None:
    with sqlite3.connect(run / "run.db") as connection:
        connection.execute(sql)
    connection.close()


def test_a_completed_run_is_whole_and_every_kind_was_looked_at(run: Path) -> None:
    document = answer("verify", run)
    assert document["ok"] is True and document["findings"] == [] and document["leftovers"] == []
    kinds = ("database", "backup", "snapshot", "history", "unit", "blob", "rows", "export")
    assert all(document["checked"][kind] >= 1 for kind in kinds)


BEST = """
import numpy as np
import perdure

with perdure.open("run", seed=1, budget=None) as run:
    w = np.zeros(3)
    for epoch in run.range("train", 4, state={"w": w}, best="min:loss"):
        w += 1
        run.log(loss=float(-w[0]))
"""
DAMAGE: dict[str, Callable[[Path], object]] = {
    "snapshot": lambda run: flip(newest_snapshot(run)),
    "blob": lambda run: flip(next((run / "blobs").glob("*.npy"))),
    "export": lambda run: flip(next((run / "exports").glob("*.best.safetensors"))),
    "backup": lambda run: (run / "run.db.backup").write_bytes(b"rubbish" * 999),
    "unit": lambda run: change(run, "UPDATE units SET document = '{}' WHERE phase = 'prepare'"),
    "rows": lambda run: change(run, "UPDATE samples SET value = 7 WHERE _position = 1"),
    "history": lambda run: change(run, "DELETE FROM history WHERE seq = 2"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_of_each_kind_is_found_and_named(kind: str, run: Path) -> None:
    DAMAGE[kind](run)
    document = answer("verify", run, code=1)
    assert {finding["kind"] for finding in document["findings"]} == {kind}
    assert kind in perdure("verify", run).stdout


@pytest.mark.parametrize("missing", ["snapshots/train", "blobs", "exports"])
def test_a_missing_file_is_found(missing: str, run: Path) -> None:
    for path in (run / missing).iterdir():
        path.unlink()
    assert answer("verify", run, code=1)["findings"]


@pytest.mark.parametrize("hit", [1, 2])  # before the first best state is exported, and before it is replaced
def test_a_run_killed_before_it_exported_its_best_state_is_whole(tmp_path: Path, hit: int) -> None:
    run = tmp_path / "run"
    words = ("run", script(tmp_path, BEST), "--run", run)
    assert (
        process(*words, folder=tmp_path, PERDURE_KILL_AT=f"export.create:{hit}").returncode
        == 128 + signal.SIGKILL
    )
    assert answer("verify", run)["ok"] is True
    assert process(*words, folder=tmp_path).returncode == 0
    assert answer("verify", run)["ok"] is True
    next((run / "exports").glob("*.best.safetensors")).unlink()
    assert answer("verify", run, code=1)["ok"] is False  # a run that was left in order has them all


@pytest.mark.parametrize(
    "statement", ["DELETE FROM notes WHERE _row = 1", "UPDATE notes SET text = 'epoch 7' WHERE _row = 1"]
)
def test_rows_of_a_loop_that_are_not_what_it_added_are_found(run: Path, statement: str) -> None:
    change(run, statement)
    findings = answer("verify", run, code=1)["findings"]
    assert {finding["kind"] for finding in findings} == {"rows"}


def test_files_that_count_for_nothing_are_leftovers_and_no_damage(run: Path) -> None:
    (run / "snapshots" / "train" / "00000099.safetensors").write_bytes(b"half")
    (run / "blobs" / f"{'0' * 64}.npy").write_bytes(b"stray")
    (run / f".run.db.backup.{'0' * 8}.tmp").write_bytes(b"half")
    document = answer("verify", run)
    assert document["ok"] is True and len(document["leftovers"]) == 3
    assert answer("verify", run, "--repair")["ok"] is True
    assert answer("verify", run)["leftovers"] == []


@pytest.mark.parametrize("kind", ["snapshot", "blob", "export", "backup", "unit", "rows"])
def test_repair_mends_and_the_next_run_ends_with_the_same_bits(kind: str, run: Path, place: Path) -> None:
    before = answer("digest", run)["digest"]
    DAMAGE[kind](run)
    document = answer("verify", run, "--repair")
    assert document["ok"] is True and document["repaired"]
    again = process("run", "script.py", folder=place)
    assert again.returncode == 0, again.stderr
    assert answer("digest", run)["digest"] == before
    assert answer("verify", run)["ok"] is True
    assert answer("status", run)["state"] == "completed"


def test_repair_keeps_the_damaged_file_aside(run: Path) -> None:
    path = newest_snapshot(run)
    flip(path)
    damaged = path.read_bytes()
    answer("verify", run, "--repair")
    assert path.with_name(f"{path.name}.damaged-1").read_bytes() == damaged
    assert answer("status", run)["state"] != "completed"


def test_repair_puts_the_backup_in_the_place_of_a_lost_database(run: Path) -> None:
    before = answer("digest", run)["digest"]
    (run / "run.db").unlink()
    assert perdure("verify", run).exit_code == 1
    assert any("run.db.backup" in line for line in answer("verify", run, "--repair")["repaired"])
    assert answer("digest", run)["digest"] == before


def test_what_nobody_can_mend_is_still_told_after_a_repair(run: Path) -> None:
    for path in (run / "run.db", run / "run.db.backup"):
        path.write_bytes(b"rubbish" * 999)
    document = answer("verify", run, "--repair", code=1)
    assert "backups" in document["error"]


def test_repair_of_a_whole_run_does_nothing(run: Path) -> None:
    document = answer("verify", run, "--repair")
    assert document["repaired"] == [] and document["ok"] is True
    assert answer("status", run)["attempts"] == 1


def test_a_killed_run_is_whole_at_once(tmp_path: Path) -> None:
    path = script(tmp_path, LONG)
    child = started("run", path, folder=tmp_path)
    folder = tmp_path / "runs" / "long"
    wait_for(lambda: (folder / "run.db").exists() and answer("status", folder)["last_saved_at"])
    holder = read_holder(folder / "lock")
    assert holder is not None
    os.kill(holder.pid, signal.SIGKILL)
    child.wait()
    assert answer("verify", folder)["ok"] is True


def test_the_digest_has_a_line_a_phase_and_one_for_the_run(run: Path) -> None:
    lines = perdure("digest", run).stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["prepare", "samples", "train", "run"]
    assert all(len(line.split()[0]) == 64 for line in lines)
    assert "weights" in perdure("digest", run, "--parts").stdout


def test_equal_work_has_equal_digests_and_other_work_has_not(run: Path, tmp_path: Path, place: Path) -> None:
    other = process("run", "script.py", "--run", tmp_path / "other", folder=place)
    assert other.returncode == 0
    assert answer("digest", tmp_path / "other")["digest"] == answer("digest", run)["digest"]
    change(run, "UPDATE samples SET value = 7")
    assert answer("digest", tmp_path / "other")["digest"] != answer("digest", run)["digest"]


def test_why_says_when_nothing_differs(run: Path) -> None:
    assert perdure("why", run).stdout == "nothing differs\n"


def test_why_names_changed_code_but_not_comments(run: Path, place: Path) -> None:
    path = place / "script.py"
    path.write_text(path.read_text() + "\n# a comment\n")
    assert answer("why", run)["differences"] == {}
    path.write_text(path.read_text().replace("weights += epoch", "weights += 2 * epoch"))
    different = answer("why", run)["differences"]
    assert different["train"] == ["code: script.py changed"]
    assert "script.py changed" in perdure("why", run).stdout


def test_why_finds_the_script_when_told_where_it_moved(run: Path, place: Path, tmp_path: Path) -> None:
    (tmp_path / "moved").mkdir()
    (place / "script.py").rename(tmp_path / "moved" / "script.py")
    assert "is gone" in perdure("why", run).stdout
    assert perdure("why", run, "--root", tmp_path / "moved").stdout == "nothing differs\n"


def test_why_names_a_changed_environment(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert "OMP_NUM_THREADS" in perdure("why", run).stdout
