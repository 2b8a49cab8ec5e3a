"""Runs to look at in a browser: one that trains slowly, one with hostile names, many, and a very long one."""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

from command_line import environment

HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "'; drop",
    "a\u202eb\u2066c",
    "x" * 300,
    "<script>alert(2)</script>",
]

_TRAINING = """
import time
import numpy as np
import perdure

with perdure.open("runs/live", budget=None) as run:
    weights = np.zeros(8)
    for epoch in run.range("train", 400, state={"weights": weights}):
        weights += 1
        time.sleep(0.1)
        run.log(loss=2.0 / (epoch + 1), val_loss=2.2 / (epoch + 1), val_auc=1 - 0.5 / (epoch + 1), learning_rate=1e-3)
"""

_HOSTILE = """
import perdure

NAMES = {names!r}

def work(key):
    if key == "'; drop":
        raise ValueError("<b onmouseover=alert(3)>broken</b> \\u202e turned")
    return len(key)

if __name__ == "__main__":
    with perdure.open("runs/hostile", budget=None) as run:
        run.map(NAMES[0], NAMES, work, workers=1, retries=0)
        for unit in run.each("models", ["lgbm, fold 1", "lgbm, fold 2"]):
            for epoch in run.range("rounds", 3, state={{}}):
                run.log(**{{NAMES[0]: 1.0 / (epoch + 1), "constructor": float("nan")}})
                run.log(**{{"__proto__": -1.7e308, "m" * 200: 10**400}})
            unit.result = 1
"""

RESULTS = {
    "metrics": {"metrics": {"auc": {"value": 0.87654, "low": 0.81, "high": 0.93}}},
    "by_regime": [{"regime": "calm", "n": 40, "auc": {"value": 0.6, "low": 0.55, "high": 0.65}}],
    "gate": {"checks": [
        {"check": "AUC", "verdict": "passed", "value": 0.87654, "threshold": 0.515, "text": "high enough"},
        {"check": "drift", "verdict": "failed", "value": 0.6, "threshold": 0.95, "text": "61% are stable"},
    ]},
}  # fmt: skip


def script(folder: Path, name: str, source: str) -> Path:
    path = folder / f"{name}.py"
    path.write_text(source)
    return path


def start_training(scratch: Path, run: Path) -> subprocess.Popen[bytes]:
    """A process that trains, slowly; it goes on with what `run` holds."""
    words = [sys.executable, str(script(scratch, "train", _TRAINING))]
    return subprocess.Popen(
        words, env=environment(PERDURE_RUN=str(run)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def make_hostile(scratch: Path, run: Path) -> None:
    """A finished run whose phases, units, reasons and series have names that try to be code; with results."""
    words = [sys.executable, str(script(scratch, "hostile", _HOSTILE.format(names=HOSTILE)))]
    done = subprocess.run(words, env=environment(PERDURE_RUN=str(run)), capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (run / "exports" / "results.json").write_text(json.dumps(RESULTS))
    (run / "exports" / "roc.png").write_bytes(picture())


def make_many(run: Path, folder: Path, *, runs: int) -> None:
    """So many copies of a run's database."""
    for number in range(runs):
        copy = folder / f"copy-{number:03d}"
        copy.mkdir()
        shutil.copy(run / "run.db", copy)


def make_long(run: Path, copy: Path, *, units: int) -> None:
    """A copy with so many units in its first phase, as a month of work leaves them; every hundredth failed."""
    shutil.copytree(run, copy)
    now = time.time()
    rows = [
        (
            f"shard {i:05d}",
            i,
            "failed" if i % 100 == 0 else "done",
            "odd" if i % 100 == 0 else None,
            0.5,
            now - i,
        )
        for i in range(units)
    ]
    with sqlite3.connect(copy / "run.db") as database:
        database.execute("DELETE FROM units WHERE phase = ?", (HOSTILE[0],))
        database.executemany(
            "INSERT INTO units (phase, key, position, state, tries, reason, seconds, at, attempt) "
            f"VALUES ('{HOSTILE[0]}', ?, ?, ?, 1, ?, ?, ?, 1)",
            rows,
        )
        database.execute("UPDATE phases SET total = ? WHERE path = ?", (units, HOSTILE[0]))
    database.close()


def picture() -> bytes:
    """The smallest PNG that a browser shows: one grey pixel."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0\x80")), chunk(b"IEND", b""),
        ]
    )  # fmt: skip
