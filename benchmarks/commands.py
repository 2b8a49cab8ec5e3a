"""How long commands take beside a training that is alive."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.table import RESULTS, Goal, Line, median, seconds, show

_ROUNDS = 11
_TRAINING = """
import time, numpy as np, perdure
with perdure.open({folder!r}) as run:
    weights = np.zeros(1000)
    for epoch in run.range("epoch", 1_000_000, state={{"weights": weights}}, every="500ms"):
        weights += 1
        run.log(loss=float(epoch))
        print(epoch, flush=True)
        time.sleep(0.05)
"""


def run() -> None:
    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=RESULTS, prefix="commands-") as place:
        folder = Path(place).absolute() / "run"
        script = Path(place) / "training.py"
        script.write_text(_TRAINING.format(folder=str(folder)))
        training = subprocess.Popen(
            [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        try:
            assert training.stdout is not None
            training.stdout.readline()  # it is under way
            training.stdout.close()
            samples = _rounds(folder)
        finally:
            training.terminate()
            training.wait()
    _report(samples)


def _rounds(folder: Path) -> dict[str, list[float]]:
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import perdure": [sys.executable, "-c", "import perdure"],
        "perdure status": [sys.executable, "-m", "perdure", "status", str(folder)],
        "perdure status --json": [sys.executable, "-m", "perdure", "status", str(folder), "--json"],
    }
    samples: dict[str, list[float]] = {name: [] for name in commands}
    for number in range(-1, _ROUNDS):
        for name, command in commands.items():
            taken = seconds(partial(subprocess.run, command, check=True, capture_output=True))
            if number >= 0:
                samples[name].append(taken)
    return samples


def _report(samples: dict[str, list[float]]) -> None:
    floor = median(samples["python -c pass"])
    lines = [
        Line(
            name,
            {"seconds": median(taken), "x bare": median(taken) / floor},
            {"seconds": Goal(0.4)} if name == "perdure status" else {},
        )
        for name, taken in samples.items()
    ]
    show(f"Commands beside a live training: median of {_ROUNDS} rounds", ["seconds", "x bare"], lines)
