"""Real processes for tests: run a script, kill it at a seam, compare what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from perdure.store.database import Reader
from perdure.testing import digest as digest
from perdure.testing.script import KILLED as KILLED

SCRIPTS = Path(__file__).parent / "scripts"
SOURCE = Path(__file__).parent.parent / "src"


def environment(folder: Path, **more: str) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PERDURE_")}
    path = os.pathsep.join([str(SOURCE), *filter(None, [inherited.get("PYTHONPATH")])])
    return inherited | {"PYTHONPATH": path, "PERDURE_RUN": str(folder)} | more


def run_script(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run tests/scripts/NAME in a new process on the run `folder`."""
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name)],
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        timeout=240,
    )


def start_script(name: str, folder: Path, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(SCRIPTS / name)],
        env=environment(folder, **variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(name: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a script that must end well."""
    done = run_script(name, folder, **variables)
    assert done.returncode == 0, done.stderr
    return done


def rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    reader = Reader(folder / "run.db")
    try:
        return [tuple(row) for row in reader.rows(sql)]
    finally:
        reader.close()


def seams(name: str, folder: Path, log: Path, **variables: str) -> list[str]:
    """Every seam that an uninterrupted run passes, in order; `folder` then holds that run."""
    finish(name, folder, PERDURE_SEAM_LOG=str(log), **variables)
    return log.read_text().split()
