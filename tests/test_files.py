"""Durable files: there completely or not at all, private, and never in the wrong place."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import files, seams
from perdure.errors import StorageError, UsageError
from processes import SCRIPTS, digest, environment, finish

is_root = hasattr(os, "geteuid") and os.geteuid() == 0
as_root = pytest.mark.skipif(not is_root, reason="needs root")


@pytest.fixture
def passed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    names: list[str] = []
    monkeypatch.setattr(files, "seam", names.append)
    return names


def failing(number: int) -> Any:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_written_aside_then_synced_then_renamed_then_its_folder_is_synced(
    tmp_path: Path, passed: list[str]
) -> None:
    assert files.publish(tmp_path / "x", [b"ab", b"c"], kind="k") == 3
    assert passed == ["k.create", "k.sync", "k.rename", "k.folder", "k.published"]
    assert (tmp_path / "x").read_bytes() == b"abc"


def test_every_byte_reaches_the_disk_before_the_name_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("write", "fsync"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, _real=real, _name=name: (calls.append(_name), _real(*a))[1])
    rename = Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (calls.append("rename"), rename(self, to))[1])
    files.publish(tmp_path / "x", [b"abc"], kind="k")
    assert calls == ["write", "fsync", "rename", "fsync"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG, errno.EROFS])
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_failed_write_or_sync_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    (tmp_path / "x").write_bytes(b"old")
    monkeypatch.setattr(os, call, failing(number))
    with pytest.raises(StorageError, match=errno.errorcode[number]) as caught:
        files.publish(tmp_path / "x", [b"new"], kind="k")
    monkeypatch.undo()
    assert str(tmp_path / "x") in str(caught.value)
    assert "MB free" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_bytes() == b"old"


def test_a_file_whose_sync_failed_is_never_synced_or_renamed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real, chances = os.fsync, iter([True, False, False])

    def sync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        if next(chances):
            raise OSError(errno.EIO, "lost")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(StorageError):
        files.publish(tmp_path / "x", [b"new"], kind="k")
    files.publish(tmp_path / "x", [b"new"], kind="k")
    assert len({name for name in synced if name.endswith(".tmp")}) == 2


def test_whatever_else_ends_a_publication_leaves_nothing_behind(tmp_path: Path) -> None:
    def content() -> Iterator[bytes]:
        yield b"a"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.publish(tmp_path / "x", content(), kind="k")
    assert list(tmp_path.iterdir()) == []


def test_a_short_write_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda d, view: real(d, bytes(view[:3])))
    files.publish(tmp_path / "x", [b"0123456789"], kind="k")
    assert (tmp_path / "x").read_bytes() == b"0123456789"


def test_a_link_planted_at_the_temporary_name_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    monkeypatch.setattr(files.secrets, "token_hex", lambda _: "00")
    (tmp_path / ".x.00.tmp").symlink_to(victim)
    with pytest.raises(StorageError):
        files.publish(tmp_path / "x", [b"new"], kind="k")
    assert victim.read_bytes() == b"precious"


def test_a_link_at_the_final_name_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "x").symlink_to(victim)
    files.publish(tmp_path / "x", [b"new"], kind="k")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "x").is_symlink()


def test_files_and_folders_are_private_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        files.make_folder(tmp_path / "a" / "b")
        files.publish(tmp_path / "a" / "x", [b"1"], kind="k")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "x").stat().st_mode) == 0o600


@as_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 65534, 65534)
    with pytest.raises(UsageError, match="belongs to user 65534"):
        files.make_folder(tmp_path / "theirs")


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises((UsageError, StorageError), match=str(tmp_path / "x")):
        files.make_folder(tmp_path / "x")
    with pytest.raises(StorageError, match=str(tmp_path / "x")):
        files.make_folder(tmp_path / "x" / "y")


def test_damaged_files_are_set_aside_under_names_of_their_own(tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / "x").write_text(text)
        files.set_aside(tmp_path / "x")
    assert (tmp_path / "x.damaged-1").read_text() == "one"
    assert (tmp_path / "x.damaged-2").read_text() == "two"


def test_too_little_space_is_told_with_place_and_megabytes(tmp_path: Path) -> None:
    with pytest.raises(
        StorageError, match=rf"{tmp_path} has [\d.]+ MB free and a test needs 1000000000\.0 MB"
    ):
        files.require_space(tmp_path, 10**15, purpose="a test")


@pytest.mark.skipif(
    not is_root or shutil.which("mount") is None, reason="needs root to mount a small file system"
)
def test_a_really_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        files.publish(disk / "x", [b"old"], kind="k")
        with pytest.raises(StorageError, match="disk is full"):
            files.publish(disk / "x", [bytes(2 << 20)], kind="k")
        assert [p.name for p in disk.iterdir()] == ["x"]
        assert (disk / "x").read_bytes() == b"old"
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_refused_rename_is_tried_again_on_windows_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def replace(self: Path, target: Path) -> None:
        tries.append(target)
        raise PermissionError(errno.EACCES, "held by a scanner")

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr(files.time, "sleep", lambda _: None)
    with pytest.raises(StorageError):
        files.publish(tmp_path / "x", [b"1"], kind="k")
    assert len(tries) == 1
    monkeypatch.setattr(
        files,
        "os",
        type(
            "windows",
            (),
            {
                "name": "nt",
                **{n: getattr(os, n) for n in ("open", "close", "write", "fsync", "O_WRONLY", "O_RDONLY")},
            },
        ),
    )
    with pytest.raises(PermissionError):
        files._rename(tmp_path / "a", tmp_path / "b")
    assert len(tries) == 7


AWKWARD = [
    "A",
    "a",
    "",
    " ",
    ".",
    "..",
    "../../x",
    "a/b",
    "a~b",
    "CON",
    "con",
    "nul.txt",
    "COM1",
    "x" * 300,
    "é",
    "é",
    "\U0001f600",
    "a\0b",
    "'; drop table units; --",
    "a b",
    "a.",
    "-rf",
    "%41",
    "a\\b",
    "\u017f",  # lower case of no ASCII letter, but upper case S
    "\u212a",
    "s",
    "k",
]


def test_awkward_names_get_file_names_of_their_own_that_every_system_takes() -> None:
    given_names = [*AWKWARD, *(files.name_for(text) for text in AWKWARD)]
    names = {text: files.name_for(text) for text in given_names}
    assert len({name.lower() for name in names.values()}) == len(names)
    for name in names.values():
        assert name and len(name.encode()) <= 200
        assert name == name.lower() and not set(name) & set('/\\:*?"<>|\0') and name.isascii()
        assert name.strip(" .") == name
        assert name.partition(".")[0] not in {"con", "prn", "aux", "nul", "com1", "lpt1"}


@given(st.text(max_size=150), st.text(max_size=150))
def test_two_texts_never_share_a_file_name(one: str, other: str) -> None:
    assert (files.name_for(one).lower() == files.name_for(other).lower()) == (one == other)
    assert files.name_for(files.name_for(one)) != files.name_for(one) or files.name_for(one) == one


def test_a_seam_that_no_test_armed_lets_pass() -> None:
    seams.seam("nowhere")


@pytest.mark.crash
@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("call", ["fsync", "fdatasync", "pwrite64", "rename", "write"])
@pytest.mark.parametrize("fault", ["error=EIO", "error=ENOSPC"])
@pytest.mark.timeout(900)
def test_injected_faults_stop_a_real_script_clearly_and_a_rerun_ends_with_the_same_bits(
    tmp_path: Path, call: str, fault: str
) -> None:
    finish("raw_loop.py", tmp_path / "reference")
    for when in (5, 15, 40):
        folder = tmp_path / f"{call}-{when}"
        command = [
            "strace",
            "-f",
            "-qq",
            "-o",
            "/dev/null",
            "-e",
            f"trace={call}",
            "-P",
            str(folder),
            "-e",
            f"inject={call}:{fault}:when={when}+",
            sys.executable,
            str(SCRIPTS / "raw_loop.py"),
        ]
        done = subprocess.run(command, env=environment(folder), capture_output=True, text=True, timeout=200)
        assert done.returncode in {0, 1, 74}, done.stderr
        assert done.returncode == 0 or str(folder) in done.stderr
        finish("raw_loop.py", folder)
        assert digest(folder) == digest(tmp_path / "reference")


def test_an_error_without_advice_of_its_own_is_still_a_sentence(tmp_path: Path) -> None:
    said = str(files.storage_error(OSError(errno.ENOENT, "No such file or directory"), tmp_path / "x"))
    assert "No such file or directory; put that right (ENOENT" in said
