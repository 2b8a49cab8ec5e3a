"""The whole pipeline in new processes: killed and resumed, with failing symbols, and with its results used."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from perdure.errors import PerdureError
from processes import KILLED, digest, environment, rows

SAMPLES = "SELECT * FROM samples ORDER BY _position, _row"


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "perdure", *map(str, words)]


def variables(**more: str) -> dict[str, str]:
    named = environment(Path("unused"), KERAS_BACKEND="jax", PERDURE_SAVE_ALWAYS="1", **more)
    del named["PERDURE_RUN"]
    return named


def run(folder: Path, *more: str, **named: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("run", "market", "--preset", "tiny", "--run", folder, *more),
        env=variables(**named), capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("market") / "reference"
    done = run(folder, PERDURE_SEAM_LOG=str(folder.parent / "seams"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def passed(reference: Path) -> list[str]:
    """Names of all seams, in the order in which the reference passed them."""
    return (reference.parent / "seams").read_text().split()


def assert_same(folder: Path, reference: Path) -> None:
    assert digest(folder) == digest(reference)
    assert rows(folder, SAMPLES) == rows(reference, SAMPLES)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_killed_in_a_symbol_and_in_each_booster_ends_with_the_same_bits(
    reference: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "killed"
    # Of the second symbol; then of the third chunk of LightGBM, of the next two boosters, and of the network.
    for seam in (
        "unit.computed:6",
        "snapshot.folder:2",
        "snapshot.folder:2",
        "snapshot.folder:3",
        "epoch.end:1",
    ):
        assert run(folder, PERDURE_KILL_AT=seam).returncode == KILLED, seam
    done = run(folder)
    assert done.returncode == 0, done.stderr
    assert_same(folder, reference)


def test_a_finished_run_leaves_its_results_and_says_what_they_are(reference: Path) -> None:
    exports = reference / "exports"
    manifest = json.loads((exports / "manifest.json").read_text())
    assert set(manifest["files"]) >= {
        "report.html", "results.json", "forecasts.parquet", "ensemble.zip", "roc.png", "swarm.png", "equity.png",
    }  # fmt: skip
    results = json.loads((exports / "results.json").read_text())
    auc = results["assessment"]["overall"]["auc"]
    assert 0 <= auc["low"] <= auc["value"] <= auc["high"] <= 1
    assert {model["model"] for model in results["assessment"]["models"]} > {"lightgbm", "xgboost", "catboost"}
    assert results["explanation"]["not_explained"] == ["network"]
    assert all(check["passed"] for check in results["explanation"]["additivity"].values())
    assert {row["sector"] for row in results["assessment"]["by_sector"]} == {"Technology", "Financials"}
    (count,) = rows(reference, "SELECT count(*) FROM samples")[0]
    assert sum(entry["n"] for entry in results["assessment"]["by_block"]) < count


def test_a_finished_run_is_told_again_without_work(reference: Path) -> None:
    before = digest(reference)
    done = run(reference)
    assert done.returncode == 0, done.stderr
    assert "forward AUC" in done.stderr and "the gate is" in done.stderr
    assert digest(reference) == before
    assert "base models: 48 units" in done.stderr and "fresh start" not in done.stderr


def test_a_registry_that_takes_no_model_is_told_before_anything_is_computed(tmp_path: Path) -> None:
    registry = tmp_path / "registry.db"
    registry.write_bytes(b"rubbish" * 999)
    done = run(tmp_path / "market")
    assert done.returncode == 1 and f"{registry} is damaged" in done.stderr, done.stderr
    assert "quality" not in done.stderr and rows(tmp_path / "market", "SELECT path FROM phases") == []


def test_samples_survive_a_reset_and_are_found_done(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "market"
    shutil.copytree(reference, folder)
    expected = rows(folder, SAMPLES)
    subprocess.run(command("reset", folder), env=variables(), check=True, capture_output=True)
    assert rows(folder, SAMPLES) == expected
    killed = run(folder, PERDURE_KILL_AT="snapshot.folder:1")  # the first booster: the symbols are behind it
    assert killed.returncode == KILLED
    assert rows(folder, SAMPLES) == expected
    computed = rows(folder, "SELECT count(*) FROM units WHERE phase = 'backtest' AND seconds > 0.0")
    assert computed == [(0,)], killed.stderr
    subprocess.run(command("reset", folder, "--all"), env=variables(), check=True, capture_output=True)
    assert not (folder / "run.db").exists()


def test_the_champion_forecasts_and_explains(reference: Path, tmp_path: Path) -> None:
    place = tmp_path / "runs"
    shutil.copytree(reference.parent, place)
    registry = place / "registry.db"

    def answer(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*words), env=variables(), capture_output=True, text=True, timeout=200, cwd=tmp_path
        )

    refused = answer("promote", "market", "--registry", registry)
    assert refused.returncode != 0 and "AUC" in refused.stderr
    assert answer("promote", "market", "--registry", registry, "--force", "a test").returncode == 0
    predicted = answer("predict", "market", "AAPL", "--run", place / "reference", "--json")
    assert predicted.returncode == 0, predicted.stderr
    (forecast,) = json.loads(predicted.stdout)["forecasts"]
    assert forecast["symbol"] == "AAPL" and 0 < forecast["probability"] < 1
    stale = answer("predict", "market", "--run", place / "reference", "--asof", "2026-06-01")
    assert stale.returncode == 1 and "2025-12-31" in stale.stderr
    unknown = answer("predict", "market", "XYZ", "--run", place / "reference")
    assert unknown.returncode == 2 and "AAPL" in unknown.stderr
    explained = answer("explain", "market", "AAPL", "--registry", registry)
    assert explained.returncode == 0 and "lightgbm" in explained.stdout + explained.stderr


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_a_planted_look_at_the_future_is_seen_by_the_gate(tmp_path: Path) -> None:
    done = run(tmp_path / "leak", "--leak")
    assert done.returncode == 0, done.stderr
    checks = json.loads((tmp_path / "leak" / "exports" / "results.json").read_text())["gate"]["checks"]
    verdict = {check["check"]: check["verdict"] for check in checks}
    assert verdict["audit: right truncation"] == "failed"
    assert verdict["leak: AUC"] == "failed"


def test_too_young_a_symbol_is_set_aside_and_stops_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "young"
    killed = run(folder, "--set", "least=130", PERDURE_KILL_AT="snapshot.folder:1")
    assert killed.returncode == KILLED
    states = dict(rows(folder, "SELECT key, state FROM units WHERE phase = 'backtest'"))
    assert states["AAPL"] == "done" and "failed" in states.values()
    reasons = [reason for (reason,) in rows(folder, "SELECT reason FROM units WHERE state = 'failed'")]
    told = subprocess.run(command("status", folder), env=variables(), capture_output=True, text=True)
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("2/8")]
    assert line.split()[1:6] == ["backtest", "map", "completed", str(4 - len(reasons)), str(len(reasons))]
    assert all("samples from" in reason for reason in reasons)


def test_the_database_answers_while_symbols_are_computed(tmp_path: Path) -> None:
    folder = tmp_path / "live"
    process = subprocess.Popen(
        command("run", "market", "--preset", "tiny", "--run", folder, "--pace", "1"),
        env=variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        seen: set[int] = set()
        while process.poll() is None and len(seen) < 2:
            with suppress(sqlite3.OperationalError, PerdureError):  # not there yet
                seen.add(rows(folder, "SELECT count(DISTINCT symbol) FROM samples")[0][0])
            time.sleep(0.05)
        assert len(seen) >= 2
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.crash
@pytest.mark.timeout(7200)
def test_a_run_killed_at_each_named_seam_ends_with_the_same_bits(
    reference: Path, passed: list[str], tmp_path: Path
) -> None:
    for number, name in enumerate(sorted(set(passed))):
        folder = tmp_path / f"killed-{number}" / "run"  # with a registry of its own beside it
        middle = (passed.count(name) + 1) // 2
        assert run(folder, PERDURE_KILL_AT=f"{name}:{middle}").returncode == KILLED, name
        done = run(folder)
        assert done.returncode == 0, (name, done.stderr)
        assert_same(folder, reference)
        shutil.rmtree(folder.parent)


@pytest.mark.crash
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("preset", ["tiny", "quick"])
def test_a_run_killed_twenty_times_at_random_ends_with_the_same_bits(preset: str, tmp_path: Path) -> None:
    words = ("run", "market", "--preset", preset, "--run")
    whole, killed, chance = tmp_path / "whole", tmp_path / "killed", random.Random(3)
    began = time.monotonic()
    assert subprocess.run(command(*words, whole), env=variables(), capture_output=True).returncode == 0
    span = (time.monotonic() - began) / 8  # so that twenty kills fall all over the run
    for _ in range(20):
        process = subprocess.Popen(
            command(*words, killed), env=variables(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(1, span))
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = subprocess.run(command(*words, killed), env=variables(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same(killed, whole)
