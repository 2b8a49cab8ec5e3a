"""Disks that are full, small, read-only or of another user, and limits: a clear stop, then the same bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import SCRIPTS, digest, environment, finish, run_script, seams

is_root = hasattr(os, "geteuid") and os.geteuid() == 0
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference") / "run"
    finish("heavy.py", folder)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = is_root and shutil.which("mount") is not None and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs", place], capture_output=True
    ).returncode  # fmt: skip
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def limited(command: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The script heavy.py in a shell that sets limits first."""
    text = f'{command}; exec "{sys.executable}" "{SCRIPTS / "heavy.py"}"'
    return subprocess.run(
        ["bash", "-c", text],
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=120,
    )


def is_clear(done: subprocess.CompletedProcess[str], folder: Path, *words: str) -> None:
    assert done.returncode == 74, (done.returncode, done.stderr)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("perdure: error:") and str(folder) in last, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in last, last


def test_a_disk_that_fills_up_in_mid_run_stops_it_clearly_and_space_lets_it_go_on(disk: Path) -> None:
    for ballast in (12, 14, 15):
        folder = disk / f"run-{ballast}"
        (disk / "ballast").write_bytes(bytes(ballast << 20))
        done = run_script("heavy.py", folder, HEAVY="4")
        is_clear(done, folder, "MB")
        left = sorted(path.name for path in folder.rglob("*") if path.name.endswith(".tmp"))
        assert left == []
        (disk / "ballast").unlink()
        finish("heavy.py", folder, HEAVY="4")
        finish("heavy.py", disk.parent / "reference", HEAVY="4")
        assert digest(folder) == digest(disk.parent / "reference")
        shutil.rmtree(folder)


def test_a_disk_that_is_full_from_the_start_stops_before_anything_is_computed(disk: Path) -> None:
    (disk / "ballast").write_bytes(bytes(20 << 20))
    done = run_script("heavy.py", disk / "run")
    is_clear(done, disk, "MB free")
    assert "epoch" not in done.stderr


def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path, reference: Path) -> None:
    done = limited("ulimit -f 600", tmp_path / "run")
    is_clear(done, tmp_path / "run", "EFBIG", "ulimit -f")
    finish("heavy.py", tmp_path / "run")
    assert digest(tmp_path / "run") == digest(reference)


def test_too_many_open_files_are_named_and_the_database_is_not_taken_for_damaged(
    tmp_path: Path, reference: Path
) -> None:
    done = limited("ulimit -n 200", tmp_path / "run", HEAVY_FILES="1")
    is_clear(done, tmp_path / "run")
    finish("heavy.py", tmp_path / "run")
    assert digest(tmp_path / "run") == digest(reference)
    assert not list((tmp_path / "run").rglob("*.damaged-*"))


@pytest.mark.skipif(
    not is_root or shutil.which("setpriv") is None, reason="needs root to become another user"
)
@pytest.mark.parametrize(
    ("owner", "mode", "code", "word"), [(65534, 0o500, 74, "permission"), (0, 0o777, 2, "belongs to user 0")]
)
def test_a_folder_that_this_user_may_not_write_is_named(
    tmp_path: Path, owner: int, mode: int, code: int, word: str
) -> None:
    place = Path("/tmp") / f"perdure-{os.getpid()}-{mode:o}"  # where another user can get to
    place.mkdir()
    try:
        os.chown(place, owner, owner)
        place.chmod(mode)
        command = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            sys.executable,
            str(SCRIPTS / "heavy.py"),
        ]
        done = subprocess.run(command, env=environment(place), capture_output=True, text=True, timeout=60)
        if "No module named" in done.stderr or "Permission denied" in done.stderr.splitlines()[0]:
            pytest.skip("another user cannot read this checkout")
        assert done.returncode == code and word in done.stderr and str(place) in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert list(place.iterdir()) == []
    finally:
        shutil.rmtree(place)


def test_a_read_only_file_system_is_named(disk: Path) -> None:
    finish("heavy.py", disk / "run")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    is_clear(run_script("heavy.py", disk / "run"), disk / "run", "read-only")


@pytest.mark.crash
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("call", ["pwrite64", "fsync", "fdatasync", "rename", "unlink", "write", "ftruncate"])
def test_killed_at_any_system_call_a_run_ends_with_the_same_bits(tmp_path: Path, call: str) -> None:
    seams("raw_loop.py", tmp_path / "reference", tmp_path / "log")
    for when in (*range(1, 12, 2), 20, 35, 60, 100):
        folder = tmp_path / f"run-{when}"
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}", "-e",
                   f"inject={call}:signal=KILL:when={when}", sys.executable, str(SCRIPTS / "raw_loop.py")]  # fmt: skip
        subprocess.run(command, env=environment(folder), capture_output=True, timeout=200)
        finish("raw_loop.py", folder)
        assert digest(folder) == digest(tmp_path / "reference"), when
