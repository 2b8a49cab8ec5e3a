"""Runs to try the command line on: small scripts, real processes, and Typer's runner for the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from perdure.cli import application

SOURCE = Path(__file__).parent.parent / "src"

WHOLE = """
import sys
import numpy as np
import perdure

def prepare():
    return {"table": np.arange(20000.0)}

def sample(key):
    if key == "bad" and not __import__("os").environ.get("MENDED"):
        raise ValueError("a bad\\x1b[31m unit")
    return [{"name": key, "value": float(len(key)), "raw": key.encode()} for _ in range(2)]

def main():
    with perdure.open("runs/whole", config={"epochs": 4}, budget=None) as run:
        run.step("prepare", prepare)
        keys = ["a", "bb", "ccc"] + (["bad"] if "bad" in sys.argv else [])
        run.map("samples", keys, sample, into="samples", data=True, workers=1, retries=0)
        weights = np.zeros(8)
        for epoch in run.range("train", run.config["epochs"], state={"weights": weights}, best="max:score"):
            weights += epoch
            run.insert("notes", [{"text": f"epoch {epoch}"}])
            run.log(score=float(epoch), loss=1.0 / (epoch + 1))

if __name__ == "__main__":
    main()
"""

LONG = """
import time
import numpy as np
import perdure

with perdure.open("runs/long", budget=None) as run:
    weights = np.zeros(8)
    for epoch in run.range("train", 2000, state={"weights": weights}):
        weights += 1
        run.log(loss=1.0 / (epoch + 1))
        print("epoch", epoch, flush=True)
        time.sleep(0.05)
"""


def perdure(*words: object) -> Result:
    """One command, in this process."""
    return CliRunner().invoke(application(), [str(word) for word in words])


def answer(*words: object, code: int = 0) -> Any:
    """The JSON document of a command."""
    result = perdure(*words, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def environment(**more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PERDURE_")}
    path = os.pathsep.join([str(SOURCE), *filter(None, [inherited.get("PYTHONPATH")])])
    return inherited | {"PYTHONPATH": path} | more


def process(*words: object, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """One command, in a process of its own, in `folder`."""
    return subprocess.run(
        command(words), cwd=folder, env=environment(**more), capture_output=True, text=True, timeout=120
    )


def started(*words: object, folder: Path, start_new_session: bool = False) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(words),
        cwd=folder,
        env=environment(),
        start_new_session=start_new_session,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def command(words: Sequence[object]) -> list[str]:
    return [sys.executable, "-m", "perdure", *map(str, words)]


def script(folder: Path, text: str, name: str = "script.py") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)
