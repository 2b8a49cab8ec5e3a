"""What the pages say is true: their Python runs, twice, and their links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from processes import environment

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S), start=1
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_python_block_runs_and_runs_again(block: str, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text(block)
    named = environment(tmp_path, KERAS_BACKEND="jax")
    del named["PERDURE_RUN"]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(script)], env=named, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs").is_dir()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = [t for t in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in t]
    assert [t for t in targets if not (page.parent / t).exists()] == []


def test_the_readme_names_only_commands_that_exist() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "perdure", "--help"],
        env=environment(Path(os.devnull)),
        capture_output=True,
        text=True,
    )
    known = set(re.findall(r"^\s+([a-z]+) ", done.stdout, re.M))
    shell = "".join(re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S))
    named = set(re.findall(r"^perdure ([a-z]+)", shell, re.M))
    assert named and named <= known
