"""What is secret in a process's surroundings is found nowhere in what a run leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.store.attempts import redacted, redacted_line
from processes import SCRIPTS, environment, finish, run_script

CANARY = "c4n4ry-7Zp"
SURROUNDINGS = {
    "AWS_SECRET_ACCESS_KEY": CANARY, "TIINGO_API_TOKEN": CANARY, "DATABASE_URL": f"postgres://me:{CANARY}@host/x",
    "MY_PLAIN_NAME": CANARY, "SSH_AUTH_SOCK": f"/tmp/{CANARY}",
}  # fmt: skip


def holding(folder: Path) -> list[str]:
    """Files that the canary is found in, or whose names have it."""
    return [
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if CANARY in path.name or (path.is_file() and CANARY.encode() in path.read_bytes())
    ]


def test_a_secret_of_the_environment_is_found_nowhere_in_the_run_nor_in_what_an_error_says(
    tmp_path: Path,
) -> None:
    done = finish("units.py", tmp_path / "run", **SURROUNDINGS)
    assert holding(tmp_path / "run") == []
    assert CANARY not in done.stderr
    (tmp_path / "run" / "run.db").write_bytes(b"rubbish")
    (tmp_path / "run" / "run.db.backup").write_bytes(b"rubbish")
    done = run_script("units.py", tmp_path / "run", **SURROUNDINGS)
    assert done.returncode == 1 and CANARY not in done.stdout + done.stderr
    assert holding(tmp_path / "run") == []


def test_a_secret_of_the_command_line_is_not_recorded(tmp_path: Path) -> None:
    words = [f"--api-token={CANARY}", "--password", CANARY, f"auth_key={CANARY}"]
    subprocess.run(
        [sys.executable, str(SCRIPTS / "raw_loop.py"), *words], env=environment(tmp_path / "run"), check=True,
        capture_output=True, timeout=120,
    )  # fmt: skip
    assert holding(tmp_path / "run") == []


def test_the_search_finds_a_canary_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x").write_bytes(b"\0" + CANARY.encode())
    assert holding(tmp_path) == [os.path.join("deep", "x")]


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (["run", "--lr=1", "x.py"], "run --lr=1 x.py"),
        (["--api-token", "s", "--lr", "1"], "--api-token *** --lr 1"),
        (["--password=s"], "--password=***"),
        (["SECRET=s", "--set", "credentials=s"], "SECRET=*** --set credentials=***"),
        (["--auth", "--lr=1"], "--auth ***"),
        (["a b", "--key s"], "a b --key ***"),
    ],
)
def test_values_of_secret_options_are_hidden_and_others_stay(given: list[str], shown: str) -> None:
    assert redacted_line(given) == shown


def test_what_hides_secrets_keeps_the_number_of_words() -> None:
    words = ["--token", "a", "b", "--x", "c"]
    assert len(redacted(words)) == len(words)
