"""What the pages say is true: their Python runs, twice, and their links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from perdure.cli import COMMANDS
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
    script.write_text(
        block.replace("time.sleep(0.25)", "time.sleep(0)")
    )  # a reader wants to watch; a test does not
    named = environment(tmp_path, KERAS_BACKEND="jax")
    del named["PERDURE_RUN"]
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, str(script)], env=named, capture_output=True, text=True, timeout=200
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs").is_dir() == ("perdure.open(" in block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_lead_somewhere(page: Path) -> None:
    targets = [t for t in re.findall(r"\]\(([^)#]+)", page.read_text()) if "://" not in t]
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_only_commands_that_exist_are_named(page: Path) -> None:
    shell = "".join(re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.M | re.S))
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
    named = set(re.findall(r"^perdure ([a-z]+)", shell, re.M)) | set(re.findall(r"`perdure ([a-z]+)", text))
    assert named <= set(COMMANDS)


def test_the_site_shows_every_page_and_no_other() -> None:
    site = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    shown = re.findall(r"'([\w/-]+\.md)'", str(site["nav"]))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("*.md")}
    assert set(shown) == pages and len(shown) == len(set(shown))
