"""`perdure init`: each starter runs, survives a kill with the same bits, and overwrites nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import answer, environment, perdure
from perdure.cli.runs.init import KINDS, starter
from processes import KILLED, digest


def start(script: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    named = environment(KERAS_BACKEND="jax", PERDURE_SAVE_ALWAYS="1", PERDURE_REPORT="0", **variables)
    return subprocess.run(
        [sys.executable, str(script)], env=named, capture_output=True, text=True, timeout=200
    )


@pytest.mark.parametrize("kind", ["numpy", "lightgbm", pytest.param("keras", marks=pytest.mark.crash)])
def test_a_starter_that_is_killed_goes_on_and_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    for folder in ("whole", "cut"):
        (tmp_path / folder).mkdir()
        answer("init", kind, "--output", tmp_path / folder / "mine.py")
    whole, cut = tmp_path / "whole" / "mine.py", tmp_path / "cut" / "mine.py"
    reference = start(whole, PERDURE_SEAM_LOG=str(tmp_path / "seams"))
    assert reference.returncode == 0, reference.stderr
    saves = (tmp_path / "seams").read_text().split().count("snapshot.rename")
    assert saves >= 8
    assert start(cut, PERDURE_KILL_AT=f"snapshot.rename:{saves // 2}").returncode == KILLED
    resumed = start(cut)
    assert resumed.returncode == 0 and "resuming at" in resumed.stderr
    assert resumed.stdout == reference.stdout
    assert digest(cut.parent / "runs" / "mine") == digest(whole.parent / "runs" / "mine")


@pytest.mark.parametrize("kind", KINDS)
def test_a_starter_is_short_and_says_what_its_lines_are_for(kind: str) -> None:
    text = starter(kind, name="train.py")
    ast.parse(text)
    assert len(text.splitlines()) <= 30 and text.count("#") >= 4
    assert all(len(line) <= 110 for line in text.splitlines())


def test_a_starter_knows_its_own_name(tmp_path: Path) -> None:
    told = perdure("init", "-o", tmp_path / "fit-2.py").stdout
    text = (tmp_path / "fit-2.py").read_text()
    assert "python fit-2.py" in text and '"runs/fit-2"' in text and "train.py" not in text
    assert "perdure run" in told and "pip install 'perdure'" in told
    assert f"perdure status {tmp_path}/runs/fit-2 --watch" in told, "its run is not under this folder's runs/"


def test_what_is_there_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.py").write_text("my own")
    assert "is there already" in answer("init", code=2)["error"]
    assert Path("train.py").read_text() == "my own"


@pytest.mark.parametrize(
    "words", [("torch",), ("-o", "train"), ("-o", "none/x.py"), ("-o", "numpy.py"), ("-o", "a'b.py")]
)
def test_what_cannot_be_written_is_a_usage_error(
    words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer("init", *words, code=2)["kind"] == "UsageError"
    assert list(tmp_path.iterdir()) == []
