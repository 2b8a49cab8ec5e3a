"""`doctor`: what a machine and a disk are like, what a run will still need, and what could go."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import damaged
from command_line import answer, perdure
from perdure import files
from perdure.cli.records import machine
from perdure.forecast import Need, need_of
from perdure.store import archive
from perdure.store.database import Reader

NAMES = [
    "file system",
    "sync",
    "locks",
    "names",
    "file clock",
    "holder",
    "space",
    "clock",
    "memory",
    "versions",
]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("life")
    with pytest.MonkeyPatch.context() as patch:
        damaged.inline_units(patch)
        damaged.life(place)
    return place


@pytest.fixture
def stopped(life: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(life / "stopped", tmp_path / "stopped"))


def checks(*words: object, code: int = 0) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in answer("doctor", *words, code=code)["checks"]}


def test_all_is_looked_at_and_a_line_is_said_of_each(stopped: Path) -> None:
    found = checks(stopped)
    assert list(found)[: len(NAMES)] == NAMES and "SQLite" in found
    said = perdure("doctor", stopped).stdout
    assert all(f" {name} " in said for name in found)
    assert "ms for 4 kB" in said and "the run to its end" in said


def test_a_folder_without_a_run_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nothing is recorded yet" in checks()["space"]["text"]
    assert answer("doctor")["removable"] == []


def test_nothing_of_the_run_is_changed_and_nothing_left_beside_it(stopped: Path) -> None:
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    before.pop(stopped / "run.db-shm", None)  # what readers agree by
    perdure("doctor", stopped)
    assert {path: path.read_bytes() for path in before} == before
    assert [path.name for path in stopped.parent.iterdir()] == ["stopped"]


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        ("nfs4", "network"),
        ("tmpfs", "memory"),
        ("overlay", "container"),
        ("fuse.sshfs", "network"),
        ("fuse.rclone", "user-space"),
    ],
)
def test_file_systems_that_lose_runs_are_warned_of(
    kind: str, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "mounted", lambda _: (kind, "/mnt"))
    found = machine.file_system(tmp_path)
    assert found.level == "warning" and word in found.text


@pytest.mark.parametrize(
    ("synced", "plain", "turns", "level", "word"),
    [
        (2e-3, 1e-5, False, "ok", "2.00 ms"),
        (1e-5, 8e-6, False, "warning", "too fast"),
        (4e-5, 3.5e-5, False, "warning", "too fast"),
        (5e-4, 1e-5, True, "warning", "disk that turns"),
        (9e-3, 1e-5, True, "ok", "9.00 ms"),
        (0.3, 1e-5, False, "warning", "slow"),
    ],
)
def test_a_sync_that_costs_too_little_for_its_device_is_said(
    synced: float, plain: float, turns: bool, level: str, word: str
) -> None:
    found = machine.honesty(synced, plain, turns=turns, kind="ext4")
    assert found.level == level and word in found.text


def test_in_memory_a_sync_may_cost_nothing() -> None:
    assert machine.honesty(1e-6, 1e-6, turns=False, kind="tmpfs").level == "ok"


def test_a_file_system_that_does_not_tell_upper_from_lower_case_is_said(tmp_path: Path) -> None:
    assert machine.names(tmp_path / "Mixed").level == "ok"
    (tmp_path / "mixed").touch()  # as such a file system answers
    assert machine.names(tmp_path / "Mixed").level == "warning"


def test_clocks_that_disagree_are_said() -> None:
    assert machine.clock(1e9, 1e9 - 5).level == "ok"
    assert "it went back" in machine.clock(1e9, 1e9 + 100).text
    assert machine.file_clock(1e9, 1e9 + 1).level == "ok"
    assert machine.file_clock(1e9, 1e9 - 100).level == "warning"


def test_a_full_memory_and_a_busy_swap_are_said() -> None:
    assert machine.memory(8 << 30, 16 << 30, 0, None).level == "ok"
    assert "limited to" in machine.memory(8 << 30, 16 << 30, 0, 4 << 30).text
    assert "may kill" in machine.memory(1 << 28, 16 << 30, 0, None).text
    assert "swapped" in machine.memory(8 << 30, 16 << 30, 4 << 30, None).text


def said_of(**installed: str) -> dict[str, machine.Answer]:
    return {found.name: found for found in machine.versions(installed.get)}


def test_frameworks_are_compared_with_the_tested_table() -> None:
    assert said_of(keras="3.15.1", jax="0.10.2")["keras"].level == "ok"
    old = said_of(keras="3.9.0", jax="0.10.2")["keras"]
    assert old.level == "warning" and "not tested with Keras 3.9.0" in old.text
    assert "tensorflow 2.19.0" in said_of(keras="3.15.1", tensorflow="2.19.0")["keras"].text
    assert said_of(torch="2.9.1")["torch"].level == "warning"
    assert "torch" not in said_of(torch="2.13.0")
    assert "keras" not in said_of(numpy="2.0")


def test_sqlites_bug_is_named_with_what_perdure_does_about_it() -> None:
    assert machine.sqlite((3, 51, 3)).text == "3.51.3"
    assert "several connections checkpoint" in machine.sqlite((3, 45, 1)).text


def need(folder: Path) -> Need:
    reader = Reader(folder / "run.db")
    try:
        return need_of(reader)
    finally:
        reader.close()


def test_what_a_run_still_needs_covers_what_it_then_takes(life: Path) -> None:
    def size(moment: str) -> int:
        return sum(path.stat().st_size for path in (life / moment).rglob("*") if path.is_file())

    old = need(life / "old")
    assert old.snapshots > 0 and old.database > 0
    assert size("completed") - size("old") <= old.total
    assert need(life / "completed").snapshots == 0


def test_pending_units_need_room_for_their_results_and_their_loops(stopped: Path) -> None:
    import sqlite3

    with sqlite3.connect(stopped / "run.db") as connection:
        connection.execute("DELETE FROM units WHERE phase = 'models' AND key != 'a'")
        connection.execute("UPDATE phases SET state = 'running' WHERE path = 'models'")
    connection.close()
    found = need(stopped)
    one_result = 8 * 8000
    assert 2 * one_result <= found.blobs <= 3 * one_result


def test_too_little_space_for_the_next_saves_is_a_problem_and_for_the_rest_a_warning(
    stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = need(stopped)
    for free, level in (
        (wanted.next_saves - 1, "problem"),
        (wanted.total - 1, "warning"),
        (wanted.total, "ok"),
    ):
        monkeypatch.setattr(files, "free_bytes", lambda _, free=free: free)
        assert checks(stopped, code=int(level == "problem"))["space"]["level"] == level


def test_what_could_go_is_named_with_its_size_largest_first(stopped: Path) -> None:
    archive.create(stopped, now=1e9, why="backup")
    (stopped / "cache" / "raw.bin").write_bytes(bytes(12345))
    (stopped / "blobs" / ("0" * 64 + ".npy")).write_bytes(bytes(99))
    (stopped / "run.db.damaged-1").write_bytes(bytes(777))
    found = {one["path"]: one for one in answer("doctor", stopped)["removable"]}
    assert found["cache"]["size"] == 12345 and found["run.db.damaged-1"]["size"] == 777
    assert "--repair" in found["blobs/" + "0" * 64 + ".npy"]["how"]
    name = next(path for path in found if path.startswith("backups/"))
    assert found[name]["size"] == sum(p.stat().st_size for p in (stopped / name).rglob("*") if p.is_file())
    assert [one["size"] for one in found.values()] == sorted(
        (one["size"] for one in found.values()), reverse=True
    )
    assert "run.db.damaged-1: kept as damaged" in perdure("doctor", stopped).stdout


def test_who_holds_the_run_is_said(stopped: Path) -> None:
    assert "holds the run" in checks(stopped)["holder"]["text"]
    text = (stopped / "lock").read_text()
    (stopped / "lock").write_text(text.replace('"host": "', '"host": "another-'))
    assert "nobody holds the run; the last was" in checks(stopped)["holder"]["text"]


def test_a_damaged_database_does_not_stop_the_look(stopped: Path) -> None:
    (stopped / "run.db").write_bytes(b"rubbish" * 999)
    (stopped / "run.db-wal").unlink()
    found = checks(stopped)
    assert "cannot be told" in found["space"]["text"]


def test_a_folder_that_cannot_be_written_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine.tempfile, "NamedTemporaryFile", refuse)
    assert "cannot write into" in checks(code=1)["sync"]["text"]
