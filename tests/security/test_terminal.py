"""Names and errors that try to drive the terminal: no control character reaches it."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path

import pytest

import perdure as library
from command_line import perdure
from perdure.cli import COMMANDS
from perdure.console import printable
from perdure.errors import UsageError

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202e\u200b"
HARMLESS = {"\n"}
READING = {
    "status": (), "verify": (), "digest": ("--parts",), "why": (), "history": (), "backups": (), "logs": (),
    "sql": ("select * from evil",), "doctor": (),
}  # fmt: skip


def driving(text: str) -> set[str]:
    """Characters that a terminal acts upon, or that hide what is there."""
    return {c for c in text if not c.isprintable() and c not in HARMLESS}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose units, rows, history and failures are full of it."""
    folder = tmp_path_factory.mktemp("evil") / "run"
    with library.open(folder, budget=None) as run:
        for unit in run.each(f"phase{EVIL}", [f"key{EVIL}"], version="1"):
            run.log(said=f"logged{EVIL}")
            run.insert("evil", [{"text": f"cell{EVIL}"}])
            unit.result = EVIL
    with sqlite3.connect(folder / "run.db") as connection:
        connection.execute("UPDATE attempts SET command = command || ?, host = ?", (EVIL, EVIL))
    connection.close()
    (folder / "backups" / f"odd{EVIL.replace('/', '')}").mkdir()
    (folder / "run.log").write_text(f"a line{EVIL}\n")
    return folder


@pytest.mark.parametrize("name", READING)
def test_no_command_lets_a_name_drive_the_terminal(name: str, run: Path) -> None:
    assert name in COMMANDS
    result = perdure(name, run, *READING[name])
    assert driving(result.output) == set()
    assert ("Traceback" not in result.output and result.exception is None) or isinstance(
        result.exception, SystemExit
    )


def test_an_error_does_not_drive_the_terminal_either(tmp_path: Path) -> None:
    result = perdure("status", tmp_path / f"missing{EVIL}")
    assert result.exit_code == 2 and driving(result.output) == set()


def test_a_run_says_names_without_their_control_characters(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with library.open(tmp_path / "run", budget=None) as run:
        for unit in run.each(f"phase{EVIL}", [f"key{EVIL}"], version="1"):
            unit.result = 1
    said = capfd.readouterr().err
    assert "\\x1b]0;owned" in said and driving(said) == set()


def test_an_error_that_ends_a_script_does_not_drive_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError), library.open(tmp_path / "run", budget=None) as run:
        run.step(f"a/{EVIL}", print)
    with pytest.raises(SystemExit):
        sys.excepthook(UsageError, UsageError(EVIL), None)
    assert driving(capfd.readouterr().err) == set()


def test_printable_text_stays_as_it_is() -> None:
    assert printable("größer → 10 %\nnext") == "größer → 10 %\nnext"
    assert printable(EVIL) == "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\r\\u202e\\u200b"
