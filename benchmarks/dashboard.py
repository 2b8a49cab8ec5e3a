"""What an open dashboard takes from a training: its throughput, alternately watched in a browser and not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.table import RESULTS, Goal, Line, median, show

_PAIRS = 12
_SECONDS = 6.0  # of each window
_SETTLING = 1.0  # of it that is not counted: the page is opened or closed
_GOAL = 1.0  # percent
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
# One thread of work, as a training that leaves a core to its user; a save and three logged numbers each 20 ms or so.
_TRAINING = """
import time, numpy as np, perdure
with perdure.open({folder!r}) as run:
    weights = np.random.default_rng(0).normal(size=(400, 400))
    for epoch in run.range("epoch", 1_000_000, state={{"weights": weights}}):
        for _ in range(6):
            weights[:] = np.tanh(weights @ weights / 400)
        run.log(loss=1 / (epoch + 1), val_auc=0.5, learning_rate=1e-3)
        print(time.monotonic(), flush=True)
"""


def run() -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("\nDashboard: there is no Chromium here, so nothing is measured")
        return
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS, prefix="dashboard-") as place, ExitStack() as ends:
        folder = Path(place).absolute() / "runs"
        moments = ends.enter_context(_training(folder / "watched"))
        page = ends.enter_context(_page(folder, browser))
        windows = np.array(list(_windows(page)))
        _report(windows, moments())


@contextmanager
def _training(folder: Path) -> Iterator[Any]:
    """A run that trains; gives a function that returns the moments at which its epochs have ended so far."""
    folder.parent.mkdir(parents=True)
    script, said = folder.parent.parent / "training.py", folder.parent.parent / "moments.txt"
    script.write_text(_TRAINING.format(folder=str(folder)))
    with said.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=output, stderr=subprocess.DEVNULL,
            env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            yield lambda: np.array(said.read_text().split()[:-1], np.float64)
        finally:
            process.terminate()
            process.wait()


@contextmanager
def _page(folder: Path, browser: str) -> Iterator[Any]:
    """A page of a browser that has logged in to the dashboard, on none of its pages yet."""
    from playwright.sync_api import sync_playwright

    server = subprocess.Popen(
        [sys.executable, "-m", "perdure", "ui", str(folder), "--no-browser", "--port", "0", "--json"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        address = json.loads("".join(iter(server.stdout.readline, "}\n")) + "}")["address"]
        with sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=browser, args=_FLAGS).new_page()
            page.goto(address)
            yield page
    finally:
        server.terminate()
        server.wait()


def _windows(page: Any) -> Iterator[tuple[float, float, bool]]:
    """Beginning and end of each window, and whether the run's curves were being shown in it."""
    home = page.url.partition("#")[0]
    for number in range(2 * _PAIRS):
        watched = number % 2 == 1
        page.goto(f"{home}#/run/watched/training" if watched else "about:blank")
        time.sleep(_SETTLING)
        began = time.monotonic()
        page.wait_for_timeout(1e3 * (_SECONDS - _SETTLING))
        yield began, time.monotonic(), watched


def _report(windows: np.ndarray, moments: np.ndarray) -> None:
    inside = [np.sum((moments >= began) & (moments < ended)) / (ended - began) for began, ended, _ in windows]
    rates, watched = np.array(inside), windows[:, 2] > 0
    pairs = 100 * (rates[~watched] / rates[watched] - 1)
    spread = np.percentile(pairs, [25, 75])
    lines = [
        Line("alone", {"epochs/s": median(list(rates[~watched]))}, {}),
        Line(
            "dashboard open",
            {"epochs/s": median(list(rates[watched])), "slower by %": float(np.median(pairs))},
            {"slower by %": Goal(_GOAL)},
            note=f"half of the pairs lie between {spread[0]:.2f} and {spread[1]:.2f}%",
        ),
    ]
    show(
        f"Training with and without the dashboard: median of {_PAIRS} pairs",
        ["epochs/s", "slower by %"],
        lines,
    )
