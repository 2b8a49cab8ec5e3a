"""The promise, shown: train, kill for real at two moments, rerun the same command, compare every bit.

`make demo` runs this for both pipelines. Of each, the first run is never interrupted; the second is killed with SIGKILL
twice. `python examples/demo.py exoplanet` runs one of them.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
RUNS = HERE / "runs" / "demo"
PERDURE = Path(sys.executable).with_name("perdure")
PATIENCE = 600  # seconds until something must have happened


@dataclass(frozen=True, slots=True)
class Story:
    """A pipeline, and after how much that is saved (units and snapshots) it is killed."""

    pipeline: str
    preset: str
    kills: tuple[int, int]

    def command(self, folder: Path) -> list[str]:
        return [str(PERDURE), "run", self.pipeline, "--preset", self.preset, "--run", str(folder)]


STORIES = (Story("exoplanet", "small", (9, 12)), Story("market", "quick", (30, 90)))


def saved(folder: Path) -> int:
    """Units and snapshots that are recorded; another process may ask at any time."""
    counts = "SELECT (SELECT count(*) FROM units WHERE state = 'done') + (SELECT count(*) FROM snapshots)"
    try:
        with sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True) as database:
            return int(database.execute(counts).fetchone()[0])
    except sqlite3.Error:
        return 0


def kill_when(command: list[str], folder: Path, enough: int, pause: float) -> None:
    """Start the command and kill it without warning once `enough` is saved, and a moment later."""
    process = subprocess.Popen(command)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and saved(folder) < enough and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(pause)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()
    print(f"--- killed (exit {process.returncode}) with {saved(folder)} things saved; same command again\n")


def digest(folder: Path) -> str:
    return subprocess.run(
        [str(PERDURE), "digest", str(folder)], check=True, capture_output=True, text=True
    ).stdout


def tell(story: Story) -> bool:
    """Whether the killed run has the bits of the uninterrupted one."""
    reference, killed = (RUNS / f"{story.pipeline}-{kind}" for kind in ("uninterrupted", "killed"))
    for folder in (reference, killed):
        shutil.rmtree(folder, ignore_errors=True)
    print(f"=== {story.pipeline}: a run that nobody interrupts\n")
    subprocess.run(story.command(reference), check=True)
    print(f"\n=== {story.pipeline}: the same run, killed with SIGKILL at two moments\n")
    for enough, pause in zip(story.kills, (0.3, 0.7), strict=True):
        kill_when(story.command(killed), killed, enough, pause)
    subprocess.run(story.command(killed), check=True)
    first, second = digest(reference), digest(killed)
    print(f"\n=== {story.pipeline}: every bit compared\n")
    print("\n".join(line for line in second.splitlines() if "/" not in line))
    same = first == second
    print("The killed run ends with the bits of the uninterrupted one." if same else f"DIFFERENT:\n{first}")
    print(f"report: {killed / 'exports' / 'report.html'}\nplots:  {killed / 'exports'}\n")
    return same


def main(names: list[str]) -> int:
    began = time.monotonic()
    told = [tell(story) for story in STORIES if story.pipeline in (names or [s.pipeline for s in STORIES])]
    print(f"took {time.monotonic() - began:.0f} s")
    return 0 if told and all(told) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
