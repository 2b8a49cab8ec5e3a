"""`run` and `predict`: scripts as child processes, pipelines in process, signals, detached runs."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import types
from pathlib import Path
from typing import Any

import pytest

from command_line import LONG, WHOLE, answer, environment, perdure, process, script, started, wait_for
from perdure.store.lock import read_holder

SHOWS = """
import os, sys, json
print(json.dumps({"arguments": sys.argv[1:], "settings": {k: v for k, v in os.environ.items() if "PERDURE_" in k}}))
sys.exit(int(os.environ.get("CODE", "0")))
"""


def test_a_script_gets_its_arguments_and_the_settings(tmp_path: Path) -> None:
    path = script(tmp_path, SHOWS)
    words = [
        "--run", "elsewhere", "--set", "a=1", "--set", "b=two", "--accept-changes", "--redo", "train",
        "--retry-failed", "--grace", "3", "--save-always", "--data", "folder", "more", "--", "--json",
    ]  # fmt: skip
    result = process("run", path, *words, folder=tmp_path)
    shown = json.loads(result.stdout)
    assert shown["arguments"] == ["--data", "folder", "more", "--json"]
    settings = shown["settings"]
    assert settings["PERDURE_RUN"] == str(tmp_path / "elsewhere")
    assert json.loads(settings["PERDURE_SET"]) == ["a=1", "b=two"]
    assert json.loads(settings["PERDURE_REDO"]) == ["train"]
    assert settings["PERDURE_GRACE"] == "3.0"
    assert all(
        settings[f"PERDURE_{name}"] == "1" for name in ("ACCEPT_CHANGES", "RETRY_FAILED", "SAVE_ALWAYS")
    )
    assert settings["PERDURE_COMMAND"].startswith("perdure run")


def test_secrets_of_the_command_line_are_not_recorded(tmp_path: Path) -> None:
    path = script(tmp_path, SHOWS)
    result = process("run", path, "--api-token", "canary", "--password=canary", folder=tmp_path)
    shown = json.loads(result.stdout)
    assert "canary" in shown["arguments"]
    assert "canary" not in shown["settings"]["PERDURE_COMMAND"]


@pytest.mark.parametrize("code", [0, 1, 17])
def test_the_exit_code_of_the_script_is_ours(code: int, tmp_path: Path) -> None:
    path = script(tmp_path, SHOWS)
    assert process("run", path, folder=tmp_path, CODE=str(code)).returncode == code


def test_a_script_that_a_signal_killed_ends_with_128_and_its_number(tmp_path: Path) -> None:
    path = script(tmp_path, "import os; os.kill(os.getpid(), 9)")
    assert process("run", path, folder=tmp_path).returncode == 137


def test_the_same_command_resumes_and_a_run_with_failed_units_ends_with_3(tmp_path: Path) -> None:
    path = script(tmp_path, WHOLE)
    first = process("run", path, "bad", folder=tmp_path)
    assert first.returncode == 3, first.stderr
    again = process("run", path, "bad", folder=tmp_path)
    assert again.returncode == 3 and "skipped" in again.stderr
    mended = process("run", path, "bad", "--retry-failed", folder=tmp_path, MENDED="1")
    assert mended.returncode == 0, mended.stderr


def test_another_config_is_refused_with_73_and_why_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = script(tmp_path, WHOLE)
    assert process("run", path, folder=tmp_path).returncode == 0
    refused = process("run", path, "--set", "epochs=6", folder=tmp_path)
    assert refused.returncode == 73
    assert "epochs was 4, is 6" in refused.stderr
    assert "epochs was 4, is 6" in perdure("why").stdout
    assert process("run", path, "--set", "epochs=6", "--accept-changes", folder=tmp_path).returncode == 0
    assert "refused" not in perdure("why").stdout


def test_with_json_standard_output_is_one_document(tmp_path: Path) -> None:
    path = script(tmp_path, WHOLE)
    result = process("run", path, "--json", folder=tmp_path)
    document = json.loads(result.stdout)
    assert document == {"target": str(path), "run": str(tmp_path / "runs" / "whole"), "exit_code": 0}


def test_an_unknown_target_names_the_pipelines(tmp_path: Path) -> None:
    result = perdure("run", tmp_path / "none.py")
    assert result.exit_code == 2 and "exoplanet" in result.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_for_the_command_is_passed_on_and_everything_is_saved(
    name: str, code: int, tmp_path: Path
) -> None:
    child = _living(tmp_path)
    os.kill(child.pid, getattr(signal, name))
    assert child.wait(timeout=60) == code
    document = answer("status", tmp_path / "runs" / "long")
    assert document["state"] == "stopped" and document["attempt_log"][-1]["exit_code"] == code


def test_a_signal_for_the_whole_group_is_one_signal(tmp_path: Path) -> None:
    child = _living(tmp_path, start_new_session=True)
    os.killpg(child.pid, signal.SIGHUP)  # as a closed terminal does: command and script both get it
    assert child.wait(timeout=60) == 129
    assert answer("status", tmp_path / "runs" / "long")["attempt_log"][-1]["outcome"] == "stopped"


def test_ctrl_c_is_the_scripts_to_answer(tmp_path: Path) -> None:
    child = _living(tmp_path, start_new_session=True)
    os.killpg(child.pid, signal.SIGINT)
    output = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "goes on from here" in output[1] and "Traceback" not in output[1]


def _living(place: Path, **options: Any) -> Any:
    path = script(place, LONG)
    child = started("run", path, folder=place, **options)
    folder = place / "runs" / "long"
    wait_for(lambda: (folder / "run.db").exists() and answer("status", folder)["last_saved_at"])
    return child


def test_a_detached_run_lives_on_writes_its_log_alone_and_can_be_stopped(tmp_path: Path) -> None:
    path = script(tmp_path, "print('before it opens', flush=True)\n" + LONG)
    result = process("run", path, "--detach", "--json", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    folder = Path(document["run"])
    holder = read_holder(folder / "lock")
    assert holder is not None and holder.pid == document["pid"]
    os.kill(holder.pid, signal.SIGHUP)  # a closed terminal is not meant for it
    wait_for(lambda: "epoch 6" in (folder / "run.log").read_text())
    assert holder.is_alive()
    assert answer("stop", folder)["stopped"] is True
    log = (folder / "run.log").read_text()
    assert log.startswith("before it opens") and log.count("epoch 3\n") == 1 and "stopped by SIGTERM" in log


def test_a_detached_run_says_how_to_follow_and_stop_it(tmp_path: Path) -> None:
    path = script(tmp_path, LONG.replace("2000", "3"))
    shown = process("run", path, "--detach", folder=tmp_path).stdout
    assert "perdure logs -f runs/long" in shown and "perdure stop runs/long" in shown


def test_a_detached_crash_leaves_its_traceback_in_the_log(tmp_path: Path) -> None:
    path = script(tmp_path, LONG.replace('print("epoch"', 'raise ValueError("boom"'))
    folder = Path(json.loads(process("run", path, "--detach", "--json", folder=tmp_path).stdout)["run"])
    wait_for(lambda: "ValueError" in (folder / "run.log").read_text())


def test_a_detached_script_that_fails_at_once_shows_its_error(tmp_path: Path) -> None:
    path = script(tmp_path, "import no_such_module")
    result = process("run", path, "--detach", folder=tmp_path)
    assert result.returncode == 1 and "no_such_module" in result.stderr
    path = script(tmp_path, "pass")
    result = process("run", path, "--detach", folder=tmp_path)
    assert result.returncode == 2 and "perdure.open" in result.stderr


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """The built-in pipeline, replaced by one that notes how it was called."""
    calls: list[Any] = []

    def main(preset: str, folder: Path, **options: object) -> int:
        settings = {k: v for k, v in os.environ.items() if k.startswith("PERDURE_")}
        calls.append((preset, folder, options, settings))
        print("chatter")
        return 3

    for name in ("exoplanet", "market"):
        module = types.ModuleType(f"perdure.pipelines.{name}.pipeline")
        module.main = main  # type: ignore[attr-defined]
        monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", environment())
    return calls


def test_a_built_in_pipeline_runs_here_with_its_folder_and_settings(
    pipeline: list[Any], tmp_path: Path
) -> None:
    (tmp_path / "curves").mkdir()
    document = answer("run", "exoplanet", "--data", "curves", "--preset", "tiny", "--set", "epochs=2", code=3)
    preset, folder, options, settings = pipeline[0]
    assert (preset, folder) == ("tiny", tmp_path / "runs" / "exoplanet")
    assert options == {"data": Path("curves")}
    assert json.loads(settings["PERDURE_SET"]) == ["epochs=2"]
    assert settings["PERDURE_RUN"] == str(tmp_path / "runs" / "exoplanet")
    assert document == {"target": "exoplanet", "run": str(tmp_path / "runs" / "exoplanet"), "exit_code": 3}


def test_a_built_in_pipeline_refuses_what_it_does_not_know(pipeline: list[Any]) -> None:
    assert perdure("run", "exoplanet", "--speed", "high").exit_code == 2
    assert perdure("run", "exoplanet", "--data").exit_code == 2
    assert "no such file" in perdure("run", "exoplanet", "--data", "nowhere").stderr
    assert "'soon' is not a number of seconds" in perdure("run", "market", "--pace", "soon").stderr
    assert "'0' leaves no time" in perdure("run", "market", "--timeout", "0").stderr
    assert "takes no value" in perdure("run", "market", "--leak=yes").stderr
    assert perdure("run", "market", "--data", ".").exit_code == 2
    assert pipeline == []


def test_options_of_a_pipeline_reach_it_as_it_takes_them(pipeline: list[Any]) -> None:
    answer("run", "market", "--source=csv:prices", "--pace", "0.5", "--leak", code=3)
    preset, _, options, _ = pipeline[0]
    assert preset == "quick"
    assert options == {"source": "csv:prices", "pace": 0.5, "leak": True}


def test_a_missing_extra_is_answered_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", environment())
    monkeypatch.setitem(__import__("sys").modules, "perdure.pipelines.exoplanet.pipeline", None)
    result = perdure("run", "exoplanet")
    assert result.exit_code == 2 and "pip install 'perdure[exoplanet]'" in result.stderr


def test_predict_prints_a_line_a_curve_and_its_exit_code(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("perdure.pipelines.exoplanet.prediction")

    def predict(inputs: list[Path], *, run: Path, output: Path | None) -> tuple[int, dict[str, Any]]:
        lines = [f"{path.name} s\x1b: 0.5" for path in inputs]
        return 3, {"run": str(run), "lines": lines, "failed": {"x": "broken"}, "exports": "out"}

    module.predict = predict  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    result = perdure("predict", "exoplanet", run / "run.log", "--run", run)
    assert result.exit_code == 3
    assert "run.log s\\x1b: 0.5" in result.stdout and "x: broken" in result.stdout
    assert answer("predict", "exoplanet", run / "run.log", "--run", run, code=3)["failed"] == {"x": "broken"}
    assert perdure("predict", "exoplanet", run / "none", "--run", run).exit_code == 2
    assert perdure("predict", "exoplanet", "--run", run).exit_code == 2
    assert perdure("predict", "exoplanet", run / "run.log", "--asof", "2025-12-31").exit_code == 2
    assert perdure("predict", "weather", run / "run.log").exit_code == 2
    monkeypatch.chdir(run)  # where nothing was trained
    assert "train one first" in perdure("predict", "exoplanet", "run.log").stderr
    empty = {"run": str(run), "exports": "e", "lines": [], "failed": {}}
    module.predict = lambda *_, **__: (0, empty)  # type: ignore[attr-defined]
    assert "nothing was predicted" in perdure("predict", "exoplanet", run / "run.log", "--run", run).stdout


def test_a_run_records_the_command_that_was_typed(run: Path) -> None:
    with sqlite3.connect(run / "run.db") as connection:
        assert connection.execute("SELECT command FROM attempts").fetchone()[0] == "perdure run script.py"
