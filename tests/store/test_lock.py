"""One writer: the operating system holds the lock, and messages name the holder."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from perdure.errors import LockedError, StorageError
from perdure.store import lock as module
from perdure.store.lock import Holder, Lock, read_holder
from processes import SCRIPTS, environment, rows


def test_a_second_holder_is_refused_and_told_who_where_and_since_when(tmp_path: Path) -> None:
    first = Lock(tmp_path / "lock", now=time.time())
    with pytest.raises(LockedError) as caught:
        Lock(tmp_path / "lock", now=time.time())
    text = str(caught.value)
    assert f"process {os.getpid()} on {socket.gethostname()} since 20" in text
    assert caught.value.exit_code == 75
    first.release()
    Lock(tmp_path / "lock", now=time.time()).release()


def test_the_lock_dies_with_its_process_whatever_its_file_says(tmp_path: Path) -> None:
    code = (
        "import sys, time; sys.path.insert(0, sys.argv[2]); from pathlib import Path\n"
        "from perdure.store.lock import Lock; lock = Lock(Path(sys.argv[1]), now=1.0)\n"
        "print('held', flush=True); time.sleep(60)"
    )
    source = str(SCRIPTS.parent.parent / "src")
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "lock"), source], stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    with pytest.raises(LockedError, match=f"process {process.pid} "):
        Lock(tmp_path / "lock", now=1.0)
    process.kill()
    process.communicate()
    Lock(tmp_path / "lock", now=1.0).release()


def test_a_reused_process_id_another_boot_and_another_host_are_not_the_holder(tmp_path: Path) -> None:
    here = Holder.this_process(now=1.0)
    assert here.is_alive()
    assert not replace(here, process_started=here.process_started - 5).is_alive()
    assert not replace(here, boot="another").is_alive()
    assert not replace(here, host="elsewhere").is_alive()


def test_what_an_earlier_holder_left_in_the_file_does_not_hold_the_run(tmp_path: Path) -> None:
    stale = replace(Holder.this_process(now=1.0), host="elsewhere")
    (tmp_path / "lock").write_text(json.dumps(asdict(stale)))
    Lock(tmp_path / "lock", now=2.0).release()
    holder = read_holder(tmp_path / "lock")
    assert holder is not None and holder.since == 2.0


def test_a_process_that_gave_the_lock_back_and_lives_on_is_not_its_holder(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", now=1.0)
    holder = read_holder(tmp_path / "lock")
    assert holder is not None and holder.is_alive()
    lock.release()
    holder = read_holder(tmp_path / "lock")
    assert holder is not None and not holder.is_alive()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\udcff"])
def test_rubbish_in_the_lock_file_is_overwritten(tmp_path: Path, text: str) -> None:
    (tmp_path / "lock").write_bytes(text.encode(errors="surrogateescape"))
    Lock(tmp_path / "lock", now=2.0).release()
    assert read_holder(tmp_path / "lock") is not None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_that_lives_on_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", now=1.0)
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
    child.start()
    try:
        time.sleep(0.1)
        lock.release()
        Lock(tmp_path / "lock", now=1.0).release()
    finally:
        child.kill()
        child.join()


def test_a_file_system_without_locks_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take(_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(module, "_take", take)
    with pytest.raises(StorageError, match="file system without file locks"):
        Lock(tmp_path / "lock", now=1.0)


def test_a_full_disk_gives_the_lock_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", write)
    with pytest.raises(StorageError, match="lock"):
        Lock(tmp_path / "lock", now=1.0)
    monkeypatch.undo()
    Lock(tmp_path / "lock", now=1.0).release()


def test_a_link_planted_as_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError):
        Lock(tmp_path / "lock", now=1.0)
    assert (tmp_path / "victim").read_text() == "precious"


SLEEPER = """
import sys, time, perdure
def nap(seconds):
    time.sleep(seconds)
with perdure.open("runs/one") as run:
    run.step("nap", nap, float(sys.argv[1]))
"""


def start(tmp_path: Path, seconds: float) -> subprocess.Popen[str]:
    script = tmp_path / "sleeper.py"
    if not script.exists():
        script.write_text(SLEEPER)
    return subprocess.Popen(
        [sys.executable, str(script), str(seconds)], env=environment(tmp_path / "run"), stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_of_two_starts_the_second_exits_75_and_writes_nothing(tmp_path: Path) -> None:
    first = start(tmp_path, 60)
    while not (tmp_path / "run" / "run.log").exists():
        time.sleep(0.02)
    before = (tmp_path / "run" / "lock").read_bytes()
    second = start(tmp_path, 0)
    _, said = second.communicate(timeout=60)
    assert second.returncode == 75
    assert f"process {first.pid} on {socket.gethostname()} since 20" in said and "Traceback" not in said
    assert (tmp_path / "run" / "lock").read_bytes() == before
    assert rows(tmp_path / "run", "SELECT count(*) FROM attempts") == [(1,)]
    first.send_signal(signal.SIGKILL)
    first.communicate()


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_of_fifty_simultaneous_starts_exactly_one_wins(tmp_path: Path) -> None:
    all_of_them = [start(tmp_path, 60) for _ in range(50)]
    said = [process.communicate(timeout=500)[1] for process in all_of_them]
    codes = [process.returncode for process in all_of_them]
    assert sorted(codes) == [0] + [75] * 49
    winner = all_of_them[codes.index(0)].pid
    assert all(f"process {winner} on " in text for text, code in zip(said, codes, strict=True) if code == 75)
    assert rows(tmp_path / "run", "SELECT pid FROM attempts") == [(winner,)]
