"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from command_line import environment
from perdure.cli import COMMANDS

DOCS = Path(__file__).resolve().parents[2] / "docs"


def check(script: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), "--check"],
        env=environment(COLUMNS="47"),
        capture_output=True,
        text=True,
    )


def test_the_page_is_up_to_date_on_any_terminal() -> None:
    result = check(DOCS / "generate_cli.py")
    assert result.returncode == 0, result.stderr


def test_every_command_is_documented() -> None:
    page = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f"## perdure {name}\n" not in page] == []


def test_a_page_that_is_out_of_date_is_noticed_and_left_alone(tmp_path: Path) -> None:
    script = Path(shutil.copy(DOCS / "generate_cli.py", tmp_path))
    assert check(script).returncode == 1
    (tmp_path / "cli.md").write_text("# Commands\n")
    result = check(script)
    assert result.returncode == 1 and "out of date" in result.stderr
    assert (tmp_path / "cli.md").read_text() == "# Commands\n"
