"""A run's files are its user's alone, and nothing is written through what somebody else has put there."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from damaged import inline_units, work
from perdure import files
from perdure.errors import UsageError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes and owners are POSIX")


@pytest.fixture
def careless() -> object:
    before = os.umask(0)  # the most careless that a shell can be
    yield
    os.umask(before)


def test_a_runs_folders_are_0700_and_its_files_0600_whatever_the_umask(
    tmp_path: Path, careless: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    inline_units(monkeypatch)
    work(tmp_path / "run")
    modes = {
        path: (path.is_dir(), stat.S_IMODE(path.stat().st_mode))
        for path in [tmp_path / "run", *(tmp_path / "run").rglob("*")]
    }
    assert len(modes) > 20
    assert {
        path.name: oct(mode) for path, (d, mode) in modes.items() if mode != (0o700 if d else 0o600)
    } == {}


def test_a_folder_that_everybody_may_write_into_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    inline_units(monkeypatch)
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    work(tmp_path / "run")
    assert f"every user of this machine may write into {tmp_path / 'run'}" in capfd.readouterr().err


def test_a_private_folder_is_not_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    inline_units(monkeypatch)
    work(tmp_path / "run")
    assert "every user" not in capfd.readouterr().err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_another_user_is_refused_and_stays_empty(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)
    with pytest.raises(UsageError, match="belongs to user 65534"):
        work(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []


def test_a_temporary_file_that_somebody_has_put_there_first_is_not_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "0" * 2 * count)  # guessed
    for name, plant in {"a": Path.symlink_to, "b": Path.hardlink_to}.items():
        plant(tmp_path / f".{name}.{'0' * 8}.tmp", victim)
        with pytest.raises(Exception, match="EEXIST"):
            files.publish(tmp_path / name, [b"new"], kind="export")
        assert victim.read_bytes() == b"precious" and not (tmp_path / name).exists()
