"""A completed run with a step, a data table, a loop with rows and a best state: made once, copied for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from command_line import WHOLE, process, script


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made")
    script(place, WHOLE)
    result = process("run", "script.py", folder=place)
    assert result.returncode == 0, result.stderr
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the script and its completed run, made the current one."""
    target = tmp_path / "work"
    shutil.copytree(made, target)
    monkeypatch.chdir(target)
    monkeypatch.delenv("PERDURE_RUN", raising=False)
    return target


@pytest.fixture
def run(place: Path) -> Path:
    return place / "runs" / "whole"
