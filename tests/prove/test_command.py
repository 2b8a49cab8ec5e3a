"""`perdure prove`: its table, its files, what `perdure status` says of them, and what it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from command_line import answer, command, environment, perdure, process, script, wait_for

SMALL = """
import perdure

def double(number):
    return 2 * number

with perdure.open("runs/small", config={"n": 3}) as run:
    for unit in run.each("units", range(run.config["n"])):
        unit.result = double(unit.argument)
"""
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def test_a_proof_goes_into_the_run_and_status_shows_it_until_the_code_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = script(tmp_path, SMALL, "small.py")
    assert process("run", "small.py", folder=tmp_path).returncode == 0
    before = (tmp_path / "runs/small/run.db").read_bytes()
    done = process("prove", "small.py", "--kills", "1", folder=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "small.py: exact: 1 kill," in done.stdout and "[2/3] uninterrupted" in done.stderr
    exports = tmp_path / "runs/small/exports"
    found = json.loads((exports / "proof.json").read_text())
    assert (found["verdict"], found["kills"], found["equal"]) == ("exact", 1, 1)
    assert found["target"] == "small.py" and abs(found["at"] - time.time()) < 600
    page = (exports / "proof.html").read_text()
    assert (
        "exact" in page
        and found["trials"][0]["points"][0] in page
        and "http" not in page.replace("http-equiv", "")
    )
    assert "<svg" in (exports / "proof.svg").read_text()
    assert list(tmp_path.glob("perdure-prove-*")) == [] and not (tmp_path / "proofs").exists()
    assert (tmp_path / "runs/small/run.db").read_bytes() == before  # the user's own run was not touched

    monkeypatch.chdir(tmp_path)
    proof = answer("status", "small")["proof"]
    assert (proof["verdict"], proof["kills"], proof["outdated"]) == ("exact", 1, False)
    assert "exact after 1 kill," in perdure("status", "small").stdout
    file.write_text(SMALL.replace("2 * number", "3 * number"))
    words = ("small.py", "--redo", "units", "--accept-changes")
    assert process("run", *words, folder=tmp_path).returncode == 0
    assert answer("status", "small")["proof"]["outdated"] is True
    assert "outdated" in perdure("status", "small").stdout


@pytest.mark.crash
def test_settings_reach_the_target_and_its_runs_stay_where_that_was_asked(tmp_path: Path) -> None:
    script(tmp_path, SMALL, "small.py")
    words = ("small.py", "--kills", "1", "--set", "n=5", "--keep", "kept", "--json")
    done = process("prove", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["verdict"] == "exact" and found["files"][0] == str(tmp_path / "proofs/small/proof.json")
    for name in ("first", "second", "killed-1"):
        assert answer("digest", tmp_path / "kept" / name / "small")["phases"][0]["parts"].keys() == {
            f"unit {n}" for n in range(5)
        }
    assert not (tmp_path / "runs").exists()


def test_a_script_that_differs_ends_with_1(tmp_path: Path) -> None:
    text = SMALL.replace("2 * number", "__import__('time').time_ns()")
    script(tmp_path, text, "small.py")
    done = process("prove", "small.py", folder=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "nondeterministic" in done.stdout and "unit '0', result" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nowhere.py",), "neither a script"),
        (("small.py", "--at", "noon"), "seams, random, syscalls"),
        (("small.py", "--timeout", "soon"), "--timeout='soon'"),
        (("small.py", "--keep", "."), "not empty"),
        (("market", "--sauce", "x"), "'--sauce' is not understood"),
        (("small.py", "--kills", "0"), "--kills"),
    ],
)
def test_a_mistake_in_the_command_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    script(tmp_path, SMALL, "small.py")
    monkeypatch.chdir(tmp_path)
    done = perdure("prove", *words)
    assert done.exit_code == 2 and said in done.output, done.output


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.crash)])
def test_a_proof_that_is_interrupted_leaves_no_process_and_no_folder(tmp_path: Path, number: int) -> None:
    text = SMALL + "\nimport os, sys, time\nopen(sys.argv[1], 'w').write(str(os.getpid()))\ntime.sleep(100)\n"
    script(tmp_path, text, "slow.py")
    words = ("prove", "slow.py", "--", str(tmp_path / "pid"))
    prover = subprocess.Popen(
        command(words), cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)), stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    assert len(list(tmp_path.glob("perdure-prove-*"))) == 1
    prover.send_signal(number)
    _, said = prover.communicate(timeout=60)
    assert prover.returncode == 130 and "nothing is left behind" in said
    assert list(tmp_path.glob("perdure-prove-*")) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a process to its parent")
def test_a_proof_that_is_killed_takes_its_process_along_and_the_next_one_removes_its_folder(
    tmp_path: Path,
) -> None:
    text = SMALL + "\nimport os, sys, time\nopen(sys.argv[1], 'w').write(str(os.getpid()))\ntime.sleep(100)\n"
    script(tmp_path, text, "slow.py")
    words = ("prove", "slow.py", "--", str(tmp_path / "pid"))
    foreign = tmp_path / "perdure-prove-of-someone"  # no lock in it: nothing that a proof has left
    foreign.mkdir()
    prover = subprocess.Popen(command(words), cwd=tmp_path, env=environment(TMPDIR=str(tmp_path)))
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    (left,) = set(tmp_path.glob("perdure-prove-*")) - {foreign}
    script(tmp_path, "", "empty.py")
    assert process("prove", "empty.py", folder=tmp_path, TMPDIR=str(tmp_path)).returncode == 2
    assert left.exists()  # a proof that goes on is left alone
    prover.kill()
    prover.wait()

    def is_gone() -> bool:
        status = Path("/proc", (tmp_path / "pid").read_text(), "stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"

    wait_for(is_gone)
    assert process("prove", "empty.py", folder=tmp_path, TMPDIR=str(tmp_path)).returncode == 2
    assert not left.exists() and foreign.exists()


def test_a_script_that_opens_two_runs_is_told_so(tmp_path: Path) -> None:
    text = SMALL + SMALL.replace("runs/small", "runs/other")
    script(tmp_path, text, "two.py")
    done = process("prove", "two.py", folder=tmp_path, TMPDIR=str(tmp_path))
    assert done.returncode == 2 and "opens 2 runs" in done.stderr and "runs/other" in done.stderr
