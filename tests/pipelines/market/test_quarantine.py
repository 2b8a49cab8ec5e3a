"""A symbol whose worker dies, hangs or raises is set aside with its reason; the others go on; a retry mends the run."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from market_bars import made
from perdure.pipelines.market.data.symbols import funds
from processes import digest, environment, rows

SOUND = ("AAPL", "MSFT", "JPM", "BAC", "KO", "XOM")
HARMED = {"WMT": "segfault", "GE": "hang", "PEP": "killed", "CVX": "raise"}
# Loaded by every interpreter that is started with this folder on its path; only a worker that reads a symbol's file
# comes to harm, as by a broken extension module, a dead network drive or the kernel's out-of-memory killer.
HARM = """
import json, multiprocessing, os, signal, sys, time

def harmed(event, arguments):
    if event != "open" or multiprocessing.parent_process() is None:
        return
    harm = HARMS.get(os.path.basename(str(arguments[0])).removesuffix(".csv"))
    if harm == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif harm == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif harm == "hang":
        time.sleep(3600)
    elif harm == "raise":
        raise OSError(5, "Input/output error")

HARMS = json.loads(os.environ.get("HARMS", "{}"))
sys.addaudithook(harmed)
"""


def write(folder: Path, symbol: str, *, seed: int) -> None:
    bars, _, _ = made(900, seed)
    with (folder / f"{symbol}.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["Date", "Open", "High", "Low", "Close", "Volume"])
        writer.writerows(
            zip(map(str, bars.day), bars.open, bars.high, bars.low, bars.close, bars.volume, strict=True)
        )


@pytest.fixture(scope="module")
def prices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prices")
    # Funds have files of their own, for one that is composed reads the harmed companies' in every worker.
    for seed, symbol in enumerate((*SOUND, *HARMED, *funds())):
        write(folder, symbol, seed=seed)
    return folder


def market(folder: Path, prices: Path, *more: str, harms: dict[str, str]) -> subprocess.CompletedProcess[str]:
    hooks = folder.parent / "hooks"
    hooks.mkdir(exist_ok=True)
    (hooks / "sitecustomize.py").write_text(HARM)
    named = environment(folder, KERAS_BACKEND="jax", HARMS=json.dumps(harms))
    named["PYTHONPATH"] = f"{hooks}:{named['PYTHONPATH']}"
    words = ["run", "market", "--preset", "tiny", "--source", f"csv:{prices}", "--timeout", "30", *more]
    return subprocess.run(
        [sys.executable, "-m", "perdure", *words], env=named, capture_output=True, text=True
    )


@pytest.mark.crash
@pytest.mark.timeout(1200)
def test_harmed_symbols_are_set_aside_listed_and_mended_by_a_retry(prices: Path, tmp_path: Path) -> None:
    folder = tmp_path / "harmed" / "run"
    folder.parent.mkdir()
    done = market(folder, prices, harms=HARMED)
    assert done.returncode == 3, done.stderr
    failed = dict(rows(folder, "SELECT key, reason FROM units WHERE phase = 'backtest' AND state = 'failed'"))
    assert set(failed) == set(HARMED)
    assert "SIGSEGV" in failed["WMT"] and "SIGKILL" in failed["PEP"]
    assert "30 s" in failed["GE"] and "Input/output error" in failed["CVX"]
    assert {symbol for (symbol,) in rows(folder, "SELECT DISTINCT symbol FROM samples")} == set(SOUND)

    told = subprocess.run(
        [sys.executable, "-m", "perdure", "status", str(folder), "--json"],
        env=environment(folder), capture_output=True, text=True,
    )  # fmt: skip
    phases = {phase["name"]: phase for phase in json.loads(told.stdout)["phases"]}
    assert (phases["backtest"]["done"], phases["backtest"]["failed"]) == (len(SOUND), len(HARMED))

    again = market(folder, prices, harms={})
    assert again.returncode == 3, again.stderr  # what is in quarantine stays there until it is asked for
    mended = market(folder, prices, "--retry-failed", harms={})
    assert mended.returncode == 0, mended.stderr

    sound = tmp_path / "sound" / "run"
    sound.parent.mkdir()
    assert market(sound, prices, harms={}).returncode == 0
    # The model of the sound symbols alone was a trial too, and the deflated Sharpe ratio counts it.
    counted = {"evaluate", "gate"}
    mine, theirs = digest(folder), digest(sound)
    assert {name: mine[name] for name in mine if name not in counted} == {
        name: theirs[name] for name in theirs if name not in counted
    }
    trials = [
        json.loads((one / "exports" / "results.json").read_text())["assessment"]["trials"]
        for one in (folder, sound)
    ]
    assert trials == [2, 1]
