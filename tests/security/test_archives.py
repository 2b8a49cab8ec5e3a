"""A backup or a run's folder that somebody else has made: it is read without trust, and nothing outside is touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from damaged import life
from inprocess import train
from perdure.clock import SystemClock
from perdure.errors import DamagedError, FormatError, PerdureError, StorageError, UsageError
from perdure.repair import repair
from perdure.store import archive, swap

Spoil = Callable[[dict[str, Any], Path], object]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "run"
    train(folder)
    archive.create(folder, now=1e9, why="backup")
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def only_backup(run: Path) -> Path:
    return next((run / "backups").iterdir())


def place_of(manifest: dict[str, Any], folder: Path) -> Path:
    """The last file of a backup, removed, so that something else can take its place."""
    path = folder / manifest["files"][-1]["path"]
    path.unlink()
    return path


def add(manifest: dict[str, Any], **values: object) -> None:
    manifest["files"].append(manifest["files"][-1] | values)


def link(manifest: dict[str, Any], folder: Path) -> None:
    place_of(manifest, folder).symlink_to("/etc/hostname")


def hard_device(manifest: dict[str, Any], folder: Path) -> None:
    os.mknod(place_of(manifest, folder), 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero: it never ends


SPOILED: dict[str, Spoil] = {
    "a link": link,
    "a pipe": lambda manifest, folder: os.mkfifo(place_of(manifest, folder)),
    "a folder": lambda manifest, folder: place_of(manifest, folder).mkdir(),
    "a device": hard_device,
    "a file that is larger than told": lambda manifest, folder: os.truncate(
        folder / manifest["files"][-1]["path"], 1 << 40
    ),
    "an absolute name": lambda manifest, folder: add(manifest, path="/tmp/evil"),
    "a name that leads up": lambda manifest, folder: add(manifest, path="blobs/../../evil"),
    "a name with a drive": lambda manifest, folder: add(manifest, path="blobs/C:evil"),
    "a name with a backslash": lambda manifest, folder: add(manifest, path="blobs\\..\\..\\evil"),
    "a name with a NUL": lambda manifest, folder: add(manifest, path="blobs/a\0b"),
    "a name twice": lambda manifest, folder: add(manifest),
    "a name twice but for its case": lambda manifest, folder: add(
        manifest, path=manifest["files"][-1]["path"].replace("s/", "s/X") + "X"
    ) or add(manifest, path=manifest["files"][-1]["path"].replace("X", "x")),
    "the lock": lambda manifest, folder: add(manifest, path="lock"),
    "too many files": lambda manifest, folder: manifest.update(
        files=[{"path": f"blobs/{n}", "size": 0, "sha256": ""} for n in range(archive._MOST_FILES + 1)]
    ),
    "a time beyond all calendars": lambda manifest, folder: manifest.update(at=float("inf")),
    "a time that is none": lambda manifest, folder: manifest.update(at="yesterday"),
    "no list of files": lambda manifest, folder: manifest.update(files=7),
}  # fmt: skip


def state(folder: Path) -> dict[str, bytes]:
    """All of a run but its backups and its lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "backups" not in path.parts and path.name not in {"lock", "run.db-shm"}
    }


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_backup_is_refused_and_nothing_was_changed(
    run: Path, spoil: Spoil, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_MOST_FILES", 200)
    if spoil is hard_device and os.geteuid() != 0:
        pytest.skip("only root makes devices")
    backup, before, outside = only_backup(run), state(run), set(run.parent.iterdir())
    manifest = json.loads((backup / "manifest.json").read_text())
    spoil(manifest, backup)
    (backup / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises((DamagedError, FormatError)):
        archive.restore(run, backup.name, now=2e9)
    assert state(run) == before and set(run.parent.iterdir()) == outside


def test_a_backup_larger_than_the_disk_is_refused_before_a_byte_is_copied(run: Path) -> None:
    backup = only_backup(run)
    manifest = json.loads((backup / "manifest.json").read_text())
    manifest["files"][-1]["size"] = 10**30
    (backup / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match="the restored run needs"):
        archive.restore(run, backup.name, now=2e9)


MANIFESTS: dict[str, Callable[[Path], object]] = {
    "nested without end": lambda path: path.write_text("[" * 200_000),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
    "a link": lambda path: (path.unlink(), path.symlink_to("/etc/hostname")),
    "too large": lambda path: os.truncate(path, swap.LARGEST + 1),
    "no text": lambda path: path.write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("spoil", MANIFESTS.values(), ids=MANIFESTS.keys())
def test_a_spoiled_manifest_is_refused_and_listed_as_unreadable(
    run: Path, spoil: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(swap, "LARGEST", 1 << 20)
    backup = only_backup(run)
    spoil(backup / "manifest.json")
    found, refused = archive.backups(run)
    assert found == [] and len(refused) == 1 and str(backup) in refused[0]
    with pytest.raises(DamagedError):
        archive.restore(run, backup.name, now=2e9)


PLANS = [
    {"remove": ["../victim"], "place": []},
    {"remove": [], "place": ["../victim"]},
    {"remove": ["/tmp"], "place": []},
    {"remove": ["snapshots/../.."], "place": []},
    {"remove": [["run.db"]], "place": []},
    {"remove": ["."], "place": []},
    {},
    7,
]


@pytest.mark.parametrize("plan", PLANS)
def test_a_planted_swap_touches_nothing_outside_a_run_and_is_named(run: Path, plan: object) -> None:
    (run.parent / "victim").mkdir()
    (run / swap.INCOMING).mkdir()
    (run / swap.INCOMING / "plan.json").write_text(json.dumps(plan))
    before = state(run)
    with pytest.raises(DamagedError, match=r"\.incoming"):
        train(run)
    assert (run.parent / "victim").exists() and state(run) == before


def test_a_swap_that_is_a_link_is_not_followed(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "plan.json").write_text('{"remove": ["run.db"], "place": []}')
    (run / swap.INCOMING).symlink_to(tmp_path / "elsewhere")
    assert swap.finish(run) is False
    assert (run / "run.db").exists()


@pytest.mark.parametrize("name", ["run.db", "run.db-wal", "run.db.backup", "run.log", "lock"])
def test_a_link_in_the_place_of_a_runs_own_file_is_refused_and_its_target_is_as_it_was(
    run: Path, tmp_path: Path, name: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"" if name == "lock" else b"precious")
    (run / name).unlink(missing_ok=True)
    (run / name).symlink_to(victim)
    before = victim.read_bytes()
    with pytest.raises((UsageError, StorageError), match=name):
        train(run)
    assert victim.read_bytes() == before and (run / name).is_symlink()


def test_links_and_pipes_among_snapshots_and_blobs_do_not_stop_a_repair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import damaged

    damaged.inline_units(monkeypatch)
    expected = life(tmp_path)
    run = tmp_path / "completed"
    blob, snapshot = next((run / "blobs").iterdir()), max((run / "snapshots" / "epoch").iterdir())
    blob.unlink()
    os.mkfifo(blob)
    content = snapshot.read_bytes()
    snapshot.unlink()
    (tmp_path / "outside").write_bytes(content[:100])
    snapshot.symlink_to(tmp_path / "outside")
    try:
        repair(run, clock=SystemClock())
    except PerdureError as error:
        pytest.fail(str(error))
    assert damaged.work(run) == expected
    assert (tmp_path / "outside").read_bytes() == content[:100]
