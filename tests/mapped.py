"""Functions that workers import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np


def draw(key: str) -> dict[str, object]:
    return {"key": key, "drawn": np.random.rand(3)}


def rows(key: str) -> list[dict[str, object]]:
    return [{"key": key, "n": n, "value": float(np.random.rand())} for n in range(ord(key[0]) % 3)]


def trouble(key: str) -> object:
    if key == "raise":
        raise ZeroDivisionError("no such number")
    if key == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if key == "hang":
        time.sleep(600)
    if key == "exit":
        os._exit(5)
    return key.upper()


def while_file(path: str) -> int:
    """Fails as long as the file is there."""
    if Path(path).exists():
        raise RuntimeError("not yet")
    return 1
