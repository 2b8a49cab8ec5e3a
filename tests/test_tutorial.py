"""A newcomer's plain script, made resumable by the tutorial's edits alone, survives SIGKILL with the same bits."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processes import digest, environment

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "tutorial.md").read_text()
PLAIN, WHOLE = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
EDITS = re.findall(r"^```diff\n(.*?)^```", PAGE, re.M | re.S)


def edited(text: str, edit: str) -> str:
    """Apply one edit as a person would: find the lines that stay or go, write those that stay or come."""
    lines = edit.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] in " -")
    after = "".join(line[1:] for line in lines if line[0] in " +")
    assert text.count(before) == 1, f"the tutorial's script has this {text.count(before)} times:\n{before}"
    return text.replace(before, after)


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = PLAIN
    for edit in EDITS:
        text = edited(text, edit)
    path = tmp_path_factory.mktemp("tutorial") / "train.py"
    path.write_text(text)
    return path


def start(script: Path, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", str(script)], env=environment(folder, PERDURE_REPORT="0"), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_the_edits_lead_to_the_script_that_the_tutorial_ends_with(script: Path) -> None:
    assert len(EDITS) >= 4
    assert script.read_text() == WHOLE
    assert "perdure" not in PLAIN and len([line for line in PLAIN.splitlines() if line.strip()]) <= 26


def test_the_edited_script_is_killed_resumed_and_ends_with_the_same_bits(
    script: Path, tmp_path: Path
) -> None:
    quick = script.with_name("quick.py")
    quick.write_text(script.read_text().replace("time.sleep(0.25)", "time.sleep(0.05)"))
    untouched = start(quick, tmp_path / "untouched")
    cut = start(quick, tmp_path / "cut")
    assert cut.stdout is not None
    while not cut.stdout.readline().startswith("epoch 20"):
        assert cut.poll() is None, cut.communicate()
    os.kill(cut.pid, signal.SIGKILL)
    assert cut.wait() == -signal.SIGKILL
    printed, _ = untouched.communicate(timeout=100)
    resumed = start(quick, tmp_path / "cut")
    again, told = resumed.communicate(timeout=100)
    assert (untouched.returncode, resumed.returncode) == (0, 0), told
    assert "ended without a word" in told and re.search(r"train: resuming at iteration \d+ of 40", told)
    first = next(line for line in again.splitlines() if line.startswith("epoch"))
    assert int(first.split()[1]) > 0 and first in printed.splitlines()
    assert again.splitlines()[-1] == printed.splitlines()[-1]
    assert digest(tmp_path / "cut") == digest(tmp_path / "untouched")
