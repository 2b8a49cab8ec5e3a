"""What the dashboard changes is what the commands change, and only when it makes sense."""

from __future__ import annotations

import shlex
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from command_line import LONG, WHOLE, answer, process, script, started, wait_for
from dashboards import change, client
from perdure.dashboard import actions
from perdure.errors import UsageError
from perdure.pipelines.market.deployment.gate import Check
from perdure.pipelines.market.deployment.registry import Registry
from perdure.store.lock import Lock


def test_stop_lets_the_process_save_and_end(tmp_path: Path) -> None:
    child = started("run", script(tmp_path, LONG), folder=tmp_path)
    threading.Thread(target=child.wait, daemon=True).start()  # a parent that takes note, as a shell does
    browser = client(tmp_path / "runs")
    wait_for(lambda: browser.get("/api/runs/long").json().get("phases"))
    assert "held by process" in change(browser, "long", "reset", 400)["error"]
    assert "saved and ended" in change(browser, "long", "stop")["said"]
    assert child.wait(timeout=60) == 143
    found = browser.get("/api/runs/long").json()
    assert (found["state"], found["actions"]) == ("stopped", ["reset"])
    assert "no process" in change(browser, "long", "stop", 400)["error"]


def test_reset_backs_up_and_starts_over(folder: Path, browser) -> None:
    said = change(browser, "grid", "reset")["said"]
    (backup,) = answer("backups", folder / "grid")["backups"]
    assert backup["name"] in said
    found = browser.get("/api/runs/grid").json()
    assert (found["state"], found["attempts"], found["actions"]) == ("new", 0, [])
    assert "nothing was recorded" in change(browser, "grid", "reset", 400)["error"], "as pressed twice"


def test_a_process_that_has_left_its_run_is_not_stopped(folder: Path, browser, made_runs: Path) -> None:
    shutil.copy(
        made_runs / "grid" / "lock", folder / "grid" / "lock"
    )  # of a process that lives on, and has given the run back
    found = browser.get("/api/runs/grid").json()
    assert found["alive"] is False and found["actions"] == ["reset"]
    assert "no process works on" in change(browser, "grid", "stop", 400)["error"]


def test_a_run_that_is_held_elsewhere_is_not_reset(folder: Path, browser) -> None:
    lock = Lock(folder / "grid" / "lock", now=0.0)
    try:
        assert "held by" in change(browser, "grid", "reset", 400)["error"]
    finally:
        lock.release()


def test_a_run_without_anything_recorded_has_nothing_to_reset_or_retry(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "lock").touch()
    for action in ("reset", "retry"):
        assert "nothing was recorded" in change(client(tmp_path), "half", action, 400)["error"]


def test_failed_units_are_tried_again_by_the_same_command_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script(tmp_path, WHOLE)
    assert process("run", "script.py", "bad", folder=tmp_path).returncode == 3
    browser = client(tmp_path / "runs")
    found = browser.get("/api/runs/whole").json()
    assert (found["failed"], found["actions"]) == (1, ["reset", "retry"])
    assert found["command"] == "perdure run script.py bad", "what a person is asked to agree to"
    monkeypatch.setenv("MENDED", "1")
    assert "tries the failed units again" in change(browser, "whole", "retry")["said"]
    wait_for(lambda: browser.get("/api/runs/whole").json()["attempt_log"][-1]["outcome"] == "completed")
    wait_for(lambda: not browser.get("/api/runs/whole").json()["alive"])
    found = browser.get("/api/runs/whole").json()
    assert (found["state"], found["failed"], found["attempts"]) == ("completed", 0, 2)
    assert "no unit" in change(browser, "whole", "retry", 400)["error"], "as pressed on a page that is old"


def test_what_the_started_command_says_is_told_when_it_fails(tmp_path: Path) -> None:
    script(tmp_path, WHOLE)
    assert process("run", "script.py", "bad", folder=tmp_path).returncode == 3
    script(tmp_path, "raise SystemExit('the licence has expired')")
    assert "the licence has expired" in change(client(tmp_path / "runs"), "whole", "retry", 400)["error"]


# -- the command that is repeated --------------------------------------------------------------------------------


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """work/script.py and work/runs/r, seen from elsewhere."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    (tmp_path / "work" / "runs" / "r" / "exports").mkdir(parents=True)
    script(tmp_path / "work" / "runs" / "r" / "exports", "", name="brought.py")
    script(tmp_path / "work", "", name="script.py")
    script(tmp_path / "work", "", name="my script.py")
    return tmp_path / "work"


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ("perdure run market --preset tiny --run elsewhere/r", "market --preset tiny"),
        ("perdure run --detach --json --preset tiny market --leak", "--preset tiny market --leak"),
        ("perdure run script.py --redo a --redo=b --accept-changes --set x=1", "script.py --set x=1"),
        ("perdure run script.py --retry-failed -- --redo yes", "script.py -- --redo yes"),
        ("perdure run 'my script.py' bad", "'my script.py' bad"),
        ("script.py bad 3", "script.py bad 3"),
    ],
)
def test_the_recorded_command_is_repeated_without_what_counts_only_once(work: Path, recorded, words) -> None:
    place = work / "runs" / "r"
    found, folder = actions.again(recorded, place)
    assert found[:4] == [sys.executable, "-m", "perdure", "run"]
    assert found[4:9] == ["--run", str(place), "--retry-failed", "--detach", "--json"]
    assert found[9:] == shlex.split(words)
    assert folder == work


@pytest.mark.parametrize(
    "recorded",
    [
        "perdure run script.py --api-key=***", "none.py", "", "perdure prove script.py", "'open", "perdure run",
        "-c", "/bin/sh -c evil", "perdure run ../script.pyc", "perdure run runs/r/exports/brought.py", "market",
    ],
)  # fmt: skip
def test_a_command_that_cannot_be_repeated_for_sure_is_refused(work: Path, recorded: str) -> None:
    with pytest.raises(UsageError):
        actions.again(recorded, work / "runs" / "r")


# -- deployment --------------------------------------------------------------------------------------------------


@pytest.fixture
def deployed(folder: Path) -> Any:
    """Two versions that the run `grid` trained: the gate passed the first, not the second."""
    shutil.copytree(folder / "grid", folder / "market")
    facts: dict[str, Any] = {"feature_digest": "f", "trained_until": "2025-05-30", "metrics": {"auc": 0.5}}
    with Registry(folder / "registry.db") as registry:
        for content, passed in ((b"first", True), (b"second", False)):
            version = registry.add("market", content, run="market", **facts).version
            registry.record_gate(
                "market", version, [Check("AUC", passed, 0.55, 0.515, "0.55 out of fold")], against=None
            )
    return client(folder)


def test_promote_and_rollback_are_those_of_the_registry(folder: Path, deployed) -> None:
    assert "rollback" not in deployed.get("/api/runs/market").json()["actions"]
    assert "version 1 " in change(deployed, "market", "promote", version=1)["said"]
    refused = change(deployed, "market", "promote", 400, version=2)["error"]
    assert "not promoted" in refused and "AUC" in refused
    assert "version 2 " in change(deployed, "market", "promote", version=2, reason="to see it fail")["said"]
    found = deployed.get("/api/runs/market/results").json()["registry"]
    assert (found["champion"], found["own"], found["name"]) == (2, [1, 2], "market")
    assert found["versions"][0]["gate"][0]["verdict"] == "passed"
    assert (
        found["deployments"][-1]["reason"] == "to see it fail" and found["deployments"][-1]["forced"] is True
    )
    assert "rollback" in deployed.get("/api/runs/market").json()["actions"]
    assert "version 1 " in change(deployed, "market", "rollback", reason="as planned")["said"]
    assert "first champion" in change(deployed, "market", "rollback", 400)["error"]
    assert "rollback" not in deployed.get("/api/runs/market").json()["actions"]


def test_a_run_that_has_no_model_in_the_registry_cannot_deploy_one(folder: Path, deployed) -> None:
    found = deployed.get("/api/runs/grid").json()
    assert not {"promote", "rollback"} & set(found["actions"])
    assert "no model" in change(deployed, "grid", "promote", 400)["error"]
    assert deployed.get("/api/runs/grid/results").json()["registry"] is None


def test_a_damaged_registry_is_told_and_hides_no_results(folder: Path, deployed) -> None:
    (folder / "registry.db").write_text("no database " * 100)
    assert deployed.get("/api/runs/market/results").status_code == 200
    assert deployed.get("/api/runs/market").json()["actions"] == ["reset"]


@pytest.mark.parametrize("body", [b"{", b"[" * 60_000, b'{"version": "1"}', b'{"version": true}',
                                  b'{"version": 99999999999999999999}', b'{"reason": 1}',
                                  b'{"reason": "' + b"x" * 2000 + b'"}', b"x" * 100_000])  # fmt: skip
def test_a_request_that_makes_no_sense_changes_nothing(deployed, body: bytes) -> None:
    headers = {"X-Perdure-Token": deployed.get("/api/session").json()["token"]}
    found = deployed.post("/api/runs/market/promote", content=body, headers=headers)
    assert found.status_code == 400 and found.json()["error"]
    assert deployed.get("/api/runs/market/results").json()["registry"]["deployments"] == []
