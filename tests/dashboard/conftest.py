"""A folder of small runs, made once and copied for each test."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dashboards import HOSTILE_NAME, SECRET, client, make_grid, make_hostile


@pytest.fixture(scope="session")
def made_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("MY_API_TOKEN", SECRET)
        patched.delenv("PERDURE_RUN", raising=False)
        folder = tmp_path_factory.mktemp("made") / "runs"
        make_hostile(folder / HOSTILE_NAME)
        make_grid(folder / "grid")
    return folder


@pytest.fixture
def folder(made_runs: Path, tmp_path: Path) -> Path:
    """The runs as a process that has ended left them."""
    shutil.copytree(made_runs, tmp_path / "runs")
    for lock in (tmp_path / "runs").glob("*/lock"):
        lock.write_text(json.dumps(json.loads(lock.read_text()) | {"boot": "before"}))
    return tmp_path / "runs"


@pytest.fixture
def browser(folder: Path):
    return client(folder)
