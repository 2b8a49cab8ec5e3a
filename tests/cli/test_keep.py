"""`backup`, `backups`, `restore`, `reset` and `clean`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from command_line import answer, perdure, process
from perdure.store import archive


def digest_of(run: Path) -> str:
    found = answer("digest", run)["digest"]
    assert isinstance(found, str)
    return found


def test_a_backup_holds_every_file_with_its_digest(run: Path) -> None:
    made = answer("backup", run)
    folder = run / "backups" / made["name"]
    manifest = json.loads((folder / "manifest.json").read_text())
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {
        "manifest.json"
    }
    assert found == {file["path"] for file in manifest["files"]}
    assert {name.partition("/")[0] for name in found} == {"run.db", "snapshots", "blobs", "exports"}
    for file in manifest["files"]:
        content = (folder / file["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])
    assert [one["name"] for one in answer("backups", run)["backups"]] == [made["name"]]
    assert made["name"] in perdure("backups", run).stdout


def test_backups_of_one_second_have_different_names(run: Path) -> None:
    names = [archive.create(run, now=1_800_000_000.0, why="backup").name for _ in range(3)]
    assert names == ["20270115T080000Z-1", "20270115T080000Z-2", "20270115T080000Z-3"]


def test_a_backup_that_fails_leaves_nothing_behind(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise archive.files.storage_error(OSError(28, "full"), run)

    monkeypatch.setattr(archive.files, "publish", failing)
    assert answer("backup", run, code=74)["kind"] == "StorageError"
    assert list((run / "backups").iterdir()) == []


def test_restore_gives_the_old_bits_back_and_keeps_the_present_state(run: Path, place: Path) -> None:
    before = digest_of(run)
    name = answer("backup", run)["name"]
    changed = process("run", "script.py", "--set", "epochs=6", "--accept-changes", folder=place)
    assert changed.returncode == 0, changed.stderr
    after = digest_of(run)
    assert after != before
    document = answer("restore", run, name)
    assert document["restored"]["name"] == name
    assert digest_of(run) == before
    assert answer("verify", run)["ok"] is True
    assert process("run", "script.py", folder=place).returncode == 0
    answer("restore", run, document["before"]["name"])
    assert digest_of(run) == after


@pytest.mark.parametrize("name", ["../evil", "..", "", ".", "a/b", "/etc", "none", "a\0b", "..\\evil"])
def test_restore_takes_only_names_of_backups(name: str, run: Path) -> None:
    evil = run / "evil"
    shutil.copytree(run / "backups" / answer("backup", run)["name"], evil)
    assert answer("restore", run, name, code=2)["kind"] == "UsageError"


def test_restore_refuses_a_backup_that_is_a_link(run: Path, tmp_path: Path) -> None:
    name = answer("backup", run)["name"]
    shutil.move(run / "backups" / name, tmp_path / "moved")
    (run / "backups" / name).symlink_to(tmp_path / "moved")
    assert perdure("restore", run, name).exit_code == 2


EVIL_NAMES = [
    "../evil",
    "/etc/passwd",
    "snapshots/../../evil",
    "lock",
    "run.log",
    "snapshots",
    "blobs//x",
    "C:x",
    7,
]


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_restore_refuses_a_manifest_that_leads_elsewhere(name: object, run: Path) -> None:
    _refused(run, lambda manifest, folder: manifest["files"][-1].update(path=name))


def test_restore_refuses_other_bytes_sizes_and_missing_files(run: Path) -> None:
    _refused(run, lambda manifest, folder: manifest["files"][1].update(sha256="0" * 64))
    _refused(run, lambda manifest, folder: manifest["files"][1].update(size=1))
    _refused(run, lambda manifest, folder: manifest["files"][1].update(size=-1))
    _refused(run, lambda manifest, folder: manifest["files"].append(manifest["files"][1]))
    _refused(run, lambda manifest, folder: (folder / manifest["files"][1]["path"]).unlink())
    _refused(run, lambda manifest, folder: manifest.update(files=manifest["files"][1:]))  # no database
    _refused(run, lambda manifest, folder: manifest.update(format=99))
    _refused(run, lambda manifest, folder: manifest.clear())


def test_restore_refuses_links_and_pipes_in_the_place_of_files(run: Path) -> None:
    def link(manifest: Any, folder: Path) -> None:
        path = folder / manifest["files"][1]["path"]
        shutil.copy(path, run.parent / "outside")
        path.unlink()
        path.symlink_to(run.parent / "outside")

    def linked_folder(manifest: Any, folder: Path) -> None:
        shutil.move(folder / "blobs", run.parent / "outside-blobs")
        (folder / "blobs").symlink_to(run.parent / "outside-blobs")

    _refused(run, link)
    _refused(run, linked_folder)


def _refused(run: Path, spoil: Any) -> None:
    """Restore a spoiled backup: an error, and the run is as it was."""
    name = answer("backup", run)["name"]
    folder = run / "backups" / name
    manifest = json.loads((folder / "manifest.json").read_text())
    spoil(manifest, folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    before = digest_of(run)
    count = len(list((run / "backups").iterdir()))
    assert answer("restore", run, name, code=1)["kind"] in {"DamagedError", "FormatError"}
    assert digest_of(run) == before
    assert len(list((run / "backups").iterdir())) == count
    assert not [path for path in run.iterdir() if "incoming" in path.name]
    shutil.rmtree(run.parent / "outside-blobs", ignore_errors=True)


def test_backups_lists_a_folder_that_is_none_as_unreadable(run: Path) -> None:
    (run / "backups" / "odd").mkdir()
    assert len(answer("backups", run)["unreadable"]) == 1


def test_a_damaged_run_can_be_restored_and_its_remains_are_kept(run: Path) -> None:
    before = digest_of(run)
    name = answer("backup", run)["name"]
    (run / "run.db").write_bytes(b"rubbish" * 999)
    document = answer("restore", run, name)
    assert digest_of(run) == before
    assert (run / "backups" / document["before"]["name"] / "run.db").read_bytes().startswith(b"rubbish")


@pytest.mark.parametrize("moment", ["swap.decide", "swap.place:1", "swap.place:2", "swap.place:4"])
def test_a_restore_killed_at_any_point_is_whole_after_the_next_start(
    moment: str, run: Path, place: Path
) -> None:
    before = digest_of(run)
    name = answer("backup", run)["name"]
    assert process("run", "script.py", "--set", "epochs=5", "--accept-changes", folder=place).returncode == 0
    changed = digest_of(run)
    killed = process("restore", run, name, folder=place, PERDURE_KILL_AT=moment)
    assert killed.returncode == -9
    assert perdure("verify", run, "--repair").exit_code == 0
    assert digest_of(run) == (changed if moment == "swap.decide" else before)


def test_reset_backs_up_and_the_next_run_finds_the_units_of_data_tables(run: Path, place: Path) -> None:
    before = digest_of(run)
    (run / "cache" / "raw.bin").write_bytes(b"raw")
    document = answer("reset", run)
    assert answer("backups", run)["backups"][0]["name"] == document["backup"]["name"]
    status = answer("status", run)
    assert status["state"] == "new" and status["attempts"] == 0 and status["phases"] == []
    assert status["tables"] == {"samples": 6}
    assert (run / "cache" / "raw.bin").read_bytes() == b"raw"
    assert not list((run / "snapshots").rglob("*.safetensors"))
    again = process("run", "script.py", folder=place)
    assert again.returncode == 0, again.stderr
    tries = answer("sql", run, "select key, tries from units where phase = 'samples' order by position")
    assert [row["tries"] for row in tries] == [0, 0, 0]
    assert digest_of(run) == before


def test_reset_all_keeps_backups_alone(run: Path, place: Path) -> None:
    before = digest_of(run)
    (run / "cache" / "raw.bin").write_bytes(b"raw")
    answer("reset", run, "--all")
    assert sorted(path.name for path in run.iterdir()) == ["backups", "lock"]
    assert process("run", "script.py", folder=place).returncode == 0
    assert {
        row["tries"] for row in answer("sql", run, "select tries from units where phase = 'samples'")
    } == {1}
    assert digest_of(run) == before


def test_a_reset_can_be_taken_back(run: Path) -> None:
    before = digest_of(run)
    name = answer("reset", run, "--all")["backup"]["name"]
    answer("restore", run, name)
    assert digest_of(run) == before and answer("status", run)["state"] == "completed"


def test_clean_keeps_what_a_rerun_needs_to_say_complete(run: Path, place: Path) -> None:
    before = digest_of(run)
    (run / "cache" / "raw.bin").write_bytes(b"raw" * 1000)
    (run / "blobs" / f"{'0' * 64}.npy").write_bytes(b"stray")
    cleaned = answer("clean", run)
    assert cleaned["files"] >= 3 and cleaned["bytes"] >= 3000
    assert len(list((run / "snapshots").rglob("*.safetensors"))) == 1
    assert list((run / "cache").iterdir()) == []
    assert answer("verify", run)["ok"] is True
    again = process("run", "script.py", folder=place)
    assert again.returncode == 0 and "complete after 4 iterations" in again.stderr
    assert answer("status", run)["state"] == "completed"
    assert digest_of(run) == before


def test_clean_survives_the_loss_of_the_database(run: Path, place: Path) -> None:
    before = digest_of(run)
    answer("clean", run)
    (run / "run.db").unlink()
    assert process("run", "script.py", folder=place).returncode == 0
    assert digest_of(run) == before


def test_clean_refuses_a_run_that_is_not_completed(run: Path) -> None:
    with sqlite3.connect(run / "run.db") as connection:
        connection.execute("UPDATE attempts SET outcome = 'stopped'")
    before = sorted(path for path in run.rglob("*") if path.is_file() and "run.db" not in path.name)
    assert "not completed" in answer("clean", run, code=2)["error"]
    assert sorted(path for path in run.rglob("*") if path.is_file() and "run.db" not in path.name) == before


def test_files_of_a_backup_are_private(run: Path) -> None:
    folder = run / "backups" / answer("backup", run)["name"]
    for path in folder.rglob("*"):
        assert os.stat(path).st_mode & 0o077 == 0
