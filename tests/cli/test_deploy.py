"""`promote`, `rollback`, `explain` and `serve`: what they say, record and refuse."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import made_champion
from command_line import answer, environment, perdure
from perdure.cli.models import deploy
from perdure.pipelines.market.deployment import prediction
from perdure.pipelines.market.deployment.gate import Check
from perdure.pipelines.market.deployment.registry import Registry

SERVER = """
import signal
from perdure.cli import main
from perdure.pipelines.market.deployment import prediction
import made_champion

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it starts with &
prediction._ensemble = made_champion.Linear.read
main(["serve", "market", "--port", "0", "--json"])
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands look without --registry; models in it are made ones."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prediction, "_ensemble", made_champion.Linear.read)
    monkeypatch.setattr(prediction, "rows_as_of", lambda *_, **__: made_champion.rows())
    return tmp_path / "runs" / "registry.db"


def trained(path: Path, *checks: Check, lean: float = 0.0) -> int:
    """A challenger that the gate judged by these checks."""
    with Registry(path) as opened:
        content = made_champion.content(lean=lean)
        facts: dict[str, Any] = {
            "run": "market",
            "feature_digest": "f",
            "trained_until": "2025-05-30",
            "metrics": {},
        }
        version = opened.add("market", content, **facts).version
        champion = opened.alias("market")
        opened.record_gate("market", version, checks, against=champion.version if champion else None)
    return version


PASSED = Check("AUC", True, 0.55, 0.515, "0.55 out of fold")
FAILED = Check("ECE", False, 0.2, 0.03, "0.2 expected calibration error")


def test_the_challenger_is_promoted_and_the_verdicts_are_shown(registry: Path) -> None:
    trained(registry, PASSED)
    result = perdure("promote")
    assert result.exit_code == 0, result.output
    assert "passed" in result.output and "0.55 out of fold" in result.output
    assert "version 1 is the champion of market (the first one)" in result.output
    with Registry(registry) as opened:
        assert opened.alias("market").version == 1  # type: ignore[union-attr]


def test_what_the_gate_failed_is_refused_and_force_records_its_reason(registry: Path) -> None:
    trained(registry, PASSED, FAILED)
    refused = perdure("promote", "market")
    assert refused.exit_code == 2 and "0.2 expected calibration error" in refused.output
    found = answer("promote", "market", "--force", "a rehearsal")
    assert (found["deployment"]["forced"], found["deployment"]["reason"]) == (True, "a rehearsal")
    assert [one["verdict"] for one in found["gate"]] == ["passed", "failed"]


def test_a_rollback_goes_back_and_refuses_where_nothing_is_before(registry: Path) -> None:
    for lean in (0.0, 1.0):
        trained(registry, PASSED, lean=lean)
        assert perdure("promote").exit_code == 0
    done = answer("rollback", "--reason", "it loses")
    assert (done["deployment"]["version"], done["deployment"]["reason"]) == (1, "it loses")
    assert answer("rollback", code=2)["kind"] == "UsageError"
    assert "version 2 is the champion" in perdure("promote", "--version", "2").output
    assert "version 1 is the champion of market again" in perdure("rollback").output


def test_without_a_registry_each_command_says_how_to_get_one(registry: Path) -> None:
    for words in (["promote"], ["rollback"], ["explain", "market", "AAPL"], ["serve", "market"]):
        result = perdure(*words)
        assert result.exit_code == 2 and "perdure run market" in result.output, result.output
    assert not registry.parent.exists()


def test_another_registry_may_be_named_and_another_pipeline_has_none(registry: Path, tmp_path: Path) -> None:
    trained(tmp_path / "elsewhere" / "registry.db", PASSED)
    assert perdure("promote", "--registry", "elsewhere/registry.db").exit_code == 0
    result = perdure("promote", "exoplanet")
    assert result.exit_code == 2 and "has no registry" in result.output


def test_an_explanation_is_told_and_drawn(registry: Path, tmp_path: Path) -> None:
    made_champion.promoted(registry, made_champion.content())
    words = ["explain", "market", "XOM", "KO", "--asof", "2025-06-13", "--top", "2"]
    result = perdure(*words, "--output", "why")
    assert result.exit_code == 0, result.output
    assert "XOM, session 2025-06-13" in result.output and "all other features" in result.output
    assert sorted(path.name for path in (tmp_path / "why").iterdir()) == ["ko.png", "xom.png"]
    found = answer(*words)["explanations"]
    assert [one["symbol"] for one in found] == ["XOM", "KO"] and len(found[0]["shares"][0]["parts"]) == 2


def test_an_explanation_from_stale_data_is_refused(registry: Path) -> None:
    made_champion.promoted(registry, made_champion.content())
    assert answer("explain", "market", "KO", "--asof", "2025-07-13", code=1)["kind"] == "StaleError"
    assert answer("explain", "market", "KO", "--asof", "soon", code=2)["kind"] == "UsageError"


def test_a_model_of_other_features_is_refused_with_73(registry: Path) -> None:
    made_champion.promoted(registry, made_champion.content(feature_digest="0" * 64))
    assert answer("explain", "market", "KO", "--asof", "2025-06-13", code=73)["kind"] == "ChangedError"


def test_a_port_that_is_taken_is_a_clear_error(registry: Path) -> None:
    made_champion.promoted(registry, made_champion.content())
    with deploy._listening("127.0.0.1", 0) as taken:
        result = perdure("serve", "market", "--port", taken.getsockname()[1])
    assert result.exit_code == 2 and "choose another --port" in result.output


def test_nothing_is_served_without_a_champion(registry: Path) -> None:
    trained(registry, PASSED)
    result = perdure("serve", "market", "--port", "0")
    assert result.exit_code == 2 and "perdure promote" in result.output


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGINT for one process")
def test_the_champion_is_served_on_this_machine_until_ctrl_c(registry: Path) -> None:
    made_champion.promoted(registry, made_champion.content())
    path = environment()["PYTHONPATH"] + ":" + str(Path(made_champion.__file__).parent)
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=registry.parents[1], env=environment(PYTHONPATH=path),
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        document = "".join(server.stdout.readline() for _ in range(4))
        address = json.loads(document)["address"]
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}/health", timeout=30) as reply:
            assert json.load(reply) == {"status": "ok", "version": 1}
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == 130
    finally:
        server.kill()
        server.communicate()
