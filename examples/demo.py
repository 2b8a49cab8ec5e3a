"""The promise, shown: train, kill for real at two moments, rerun the same command, compare every bit.

`make demo` runs this. The first run is never interrupted; the second is killed with SIGKILL twice.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
RUNS = HERE / "runs"
PRESET = sys.argv[1] if len(sys.argv) > 1 else "small"
PERDURE = Path(sys.executable).with_name("perdure")
PATIENCE = 600  # seconds until something must have happened


def command(folder: Path) -> list[str]:
    return [str(PERDURE), "run", "exoplanet", "--preset", PRESET, "--run", str(folder)]


def epochs_logged(folder: Path) -> int:
    """Epochs in the run's history; another process may read it at any time."""
    try:
        with sqlite3.connect(f"file:{folder / 'run.db'}?mode=ro", uri=True) as database:
            return int(database.execute("SELECT count(*) FROM snapshots WHERE loop = 'train'").fetchone()[0])
    except sqlite3.Error:
        return 0


def kill_when(folder: Path, saved: int, pause: float) -> None:
    """Start the command and kill it without warning once `saved` snapshots are there, and a moment later."""
    process = subprocess.Popen(command(folder))
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and epochs_logged(folder) < saved and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(pause)
    if process.poll() is None:
        process.send_signal(signal.SIGKILL if os.name == "posix" else signal.SIGTERM)
    process.wait()
    print(
        f"--- killed (exit {process.returncode}) with {epochs_logged(folder)} snapshots saved; same command again\n"
    )


def digest(folder: Path) -> str:
    return subprocess.run(
        [str(PERDURE), "digest", str(folder)], check=True, capture_output=True, text=True
    ).stdout


def main() -> int:
    reference, killed = RUNS / "demo-uninterrupted", RUNS / "demo-killed"
    for folder in (reference, killed):
        shutil.rmtree(folder, ignore_errors=True)
    began = time.monotonic()
    print("=== 1. a run that nobody interrupts\n")
    subprocess.run(command(reference), check=True)
    print("\n=== 2. the same run, killed with SIGKILL at two moments\n")
    kill_when(killed, saved=2, pause=0.3)
    kill_when(killed, saved=5, pause=0.7)
    subprocess.run(command(killed), check=True)
    first, second = digest(reference), digest(killed)
    print("\n=== 3. every bit compared\n")
    print(second)
    same = first == second
    print("The killed run ends with the bits of the uninterrupted one." if same else f"DIFFERENT:\n{first}")
    print(f"report: {killed / 'exports' / 'report.html'}\nplots:  {killed / 'exports'}")
    print(f"took {time.monotonic() - began:.0f} s")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
