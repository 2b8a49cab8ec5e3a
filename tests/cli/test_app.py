"""Every command: documented, with `--json`, with clear errors."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import answer, environment, perdure, process
from perdure.cli import COMMANDS, application, main
from perdure.cli.app import size_of, table

FREE = {"doctor"}  # looks at the machine where there is no run
NEEDS = {  # further arguments, so that what is looked at is the run
    "restore": ("RUN", "20260101T000000Z-1"),
    "export": ("RUN", "samples", "out.csv"),
    "sql": ("RUN", "select 1"),
}
STARTS = {"run", "prove", "init", "ui"}  # what they need is no run
ON_A_RUN = [
    name for name, module in COMMANDS.items() if name not in STARTS and not module.startswith("models.")
]


def arguments(name: str, folder: object) -> list[object]:
    return [folder if word == "RUN" else word for word in NEEDS.get(name, ("RUN",))]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_that_says_what_it_does_and_offers_json(name: str) -> None:
    result = perdure(name, "--help")
    assert result.exit_code == 0
    assert "--json" in result.output
    first = next(line for line in result.output.splitlines()[1:] if line.strip())
    assert len(first.strip()) > 20
    assert first.strip().rstrip(".").split(".")[0] in " ".join(perdure("--help").output.split()) or name


def test_the_help_lists_all_commands_in_order_and_the_exit_codes() -> None:
    output = perdure("--help").output
    places = [output.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)
    for code in ("73", "74", "75", "129", "130", "143"):
        assert code in output


def test_one_command_alone_keeps_its_name() -> None:
    assert [command.name for command in application("digest").registered_commands] == ["digest"]


@pytest.mark.parametrize("name", sorted(set(ON_A_RUN) - FREE))
def test_a_folder_that_is_no_run_is_a_usage_error_and_stays_as_it_is(name: str, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    result = perdure(name, *arguments(name, tmp_path))
    assert result.exit_code == 2
    assert "does not hold a run" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.parametrize("name", sorted(set(ON_A_RUN) - FREE))
def test_a_missing_folder_is_a_usage_error_in_json_too(name: str, tmp_path: Path) -> None:
    document = answer(name, *arguments(name, tmp_path / "none"), code=2)
    assert document["exit_code"] == 2
    assert "is not a folder" in document["error"]
    assert not (tmp_path / "none").exists()


def test_the_only_run_is_the_default_and_its_name_suffices(run: Path) -> None:
    assert answer("status")["run"] == str(run)
    assert answer("status", "whole")["run"] == str(run)


def test_with_several_runs_the_error_lists_them(run: Path) -> None:
    (run.parent / "other").mkdir()
    (run.parent / "other" / "lock").write_text("")
    result = perdure("digest")
    assert result.exit_code == 2
    assert "runs/other" in result.stderr and "runs/whole" in result.stderr


def test_without_a_run_the_error_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = perdure("status")
    assert result.exit_code == 2
    assert str(tmp_path / "runs") in result.stderr


@pytest.mark.parametrize("name", sorted(set(ON_A_RUN) - FREE - {"stop", "backups", "logs"}))
def test_a_run_of_a_newer_format_is_refused_untouched(name: str, run: Path) -> None:
    connection = sqlite3.connect(run / "run.db")
    connection.execute("PRAGMA user_version=99")
    connection.close()
    (run / "backups" / "20260101T000000Z-1").mkdir()
    for side in run.glob("run.db-*"):
        side.unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    document = answer(name, *arguments(name, run), code=1)
    assert document["kind"] == "FormatError"
    assert "99" in document["error"]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["status", "digest", "sql", "history", "why"])
def test_a_damaged_database_is_a_message_and_no_traceback(name: str, run: Path) -> None:
    (run / "run.db").write_bytes(b"\0rubbish" * 1000)
    result = perdure(name, *arguments(name, run))
    assert result.exit_code == 1
    assert "perdure: error:" in result.stderr and "--repair" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["status", "digest", "verify", "why", "history", "backups", "doctor"])
def test_looking_changes_nothing(name: str, run: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in run.rglob("*")}
    assert perdure(name, run).exit_code == 0
    assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in run.rglob("*")} == before


def test_an_unknown_option_is_a_usage_error() -> None:
    assert perdure("status", "--bogus").exit_code == 2
    assert perdure("bogus").exit_code == 2


def test_the_module_and_the_entry_point_are_the_same_program(place: Path) -> None:
    shown = process("digest", folder=place)
    assert shown.returncode == 0
    code = "import sys; from perdure.cli import main; sys.argv = ['perdure', 'digest']; main()"
    other = subprocess.run(
        [sys.executable, "-c", code], cwd=place, env=environment(), capture_output=True, text=True
    )
    assert other.stdout == shown.stdout


def test_the_plain_status_and_the_parsed_one_say_the_same(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["status", str(run), "--json"])
    assert ended.value.code == 0
    plain = json.loads(capsys.readouterr().out)
    parsed = answer("status", run)
    for changing in ("last_saved_age_s",):
        plain.pop(changing), parsed.pop(changing)
    assert plain == parsed


def test_status_loads_neither_numpy_nor_a_drawing_library(run: Path) -> None:
    code = (
        "import sys; from perdure.cli import main\n"
        "try: main(['status', sys.argv[1]])\n"
        "finally: print(sorted({'numpy', 'rich.console', 'pydantic', 'blake3'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(run)], env=environment(), capture_output=True, text=True
    )
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


def test_a_reader_that_has_enough_ends_no_command_with_a_traceback(run: Path) -> None:
    code = (
        f"{sys.executable} -m perdure sql {run} 'select a.seq from journal a, journal b, journal c' | head -1"
    )
    result = subprocess.run(["bash", "-c", code], env=environment(), capture_output=True, text=True)
    assert "Traceback" not in result.stderr


def test_a_table_fits_its_width_and_shows_control_characters_harmlessly() -> None:
    shown = table(("name", "n"), [("x" * 100, 1), ("red \x1b[31m", 22.5), (None, None)], width=40)
    assert all(len(line) <= 40 for line in shown.splitlines())
    assert "\x1b" not in shown and "\\x1b[31m" in shown
    assert "…" in shown


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (1500, "1.5 kB"), (2_000_000, "2.0 MB")])
def test_bytes_are_said_as_people_say_them(count: int, text: str) -> None:
    assert size_of(count) == text
