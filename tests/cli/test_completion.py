"""What a shell offers after Tab, and that nobody pays for it who did not ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from command_line import command, environment, perdure, process
from perdure.cli import COMMANDS, completion
from perdure.cli.app import offered_runs
from perdure.cli.runs import init


def offered(typed: str, folder: Path) -> list[str]:
    """What bash would be given for a line; the last word is the one being typed."""
    words = typed.split(" ")
    named = environment(
        _PERDURE_COMPLETE="complete_bash", COMP_WORDS=" ".join(words), COMP_CWORD=str(len(words) - 1)
    )
    done = subprocess.run(command([]), cwd=folder, env=named, capture_output=True, text=True, timeout=60)
    return done.stdout.split()


def test_commands_are_offered_to_a_shell(place: Path) -> None:
    assert set(offered("perdure ", place)) == set(COMMANDS)


def test_options_are_offered_to_a_shell(place: Path) -> None:
    assert offered("perdure status --wa", place) == ["--watch"]


def test_presets_of_the_pipeline_that_was_named_are_offered_to_a_shell(tmp_path: Path) -> None:
    assert offered("perdure run exoplanet --preset ", tmp_path) == ["full", "small", "tiny"]


def test_runs_scripts_pipelines_and_kinds_are_found_where_they_are(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "runs" / "letters").mkdir()
    (place / "runs" / "letters" / "a.txt").write_text("no run")
    assert offered_runs("") == ["whole"] == offered_runs("wh")
    assert offered_runs("runs/") == ["runs/whole"] and offered_runs("x") == []
    assert completion.targets("") == ["exoplanet", "market", "script.py"]
    assert completion.targets(f"{place}/") == [f"{place}/script.py"]
    assert init._offered("k") == ["keras"]
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert {"small", "quick"} <= set(completion.presets(""))


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --")]
)
def test_a_script_for_each_shell_can_be_shown(shell: str, mark: str, tmp_path: Path) -> None:
    shown = process(
        "--show-completion", shell, folder=tmp_path, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert mark in shown.stdout, shown.stderr


def test_a_start_up_file_that_cannot_be_written_is_a_message(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").mkdir()
    words = ("--install-completion", "bash")
    done = process(
        *words, folder=tmp_path, HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert done.returncode == 74 and "Traceback" not in done.stderr and "--show-completion" in done.stderr


def test_one_command_alone_is_built_without_completion(tmp_path: Path) -> None:
    assert "--install-completion" in perdure("--help").stdout
    code = (
        "import sys; from perdure.cli import main\n"
        "try: main(['status', sys.argv[1]])\n"
        "finally: print([n for n in sys.modules if n.startswith(('perdure.cli.models', 'perdure.cli.runs.start'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout
