"""Functions for workers: they must be importable, so they live in a module of their own."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from perdure.errors import UsageError


def echo(key: str, argument: object) -> object:
    return key, argument


def act(key: str, argument: object) -> object:
    """Do what the argument says."""
    match argument:
        case "segfault":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(4)
        case "raise":
            raise ValueError("no such symbol\nsecond line")
        case "misuse":
            raise UsageError("never works")
        case "sleep":
            time.sleep(600)
        case "hold the GIL":
            ctypes.PyDLL(None).sleep(600)
        case "ignore SIGTERM":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(600)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "unpicklable":
            return lambda: 0
        case "unreadable":
            return Unreadable()
        case "pid":
            return os.getpid()
        case "group":
            return os.getpid(), os.getpgid(0), os.getsid(0)
        case "environment":
            return {name: value for name, value in os.environ.items() if name.startswith("PERDURE_")}
    return argument


class Unreadable:
    """Can be sent, but not made again."""

    def __reduce__(self) -> object:
        return refuse, ()


def refuse() -> None:
    raise RuntimeError("refused")


def breed(key: str, argument: str) -> object:
    """Start a grandchild that would outlive its parent, tell its id, and end as the key says."""
    child = subprocess.Popen(["sleep", "600"])
    Path(argument).write_text(str(child.pid))
    return act(key, key)


def fork_and_crash(key: str, argument: str) -> object:
    """Leave a forked grandchild that holds all our pipes, and die."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
    Path(argument).write_text(str(child))
    os._exit(5)


def describe(matrix: np.ndarray, key: str, argument: object) -> object:
    """Tell how the bound matrix arrived."""
    file = getattr(matrix, "filename", None)
    return type(matrix).__name__, file and str(file), matrix.tolist(), matrix.flags.writeable


def describe_argument(key: str, argument: np.ndarray) -> object:
    return describe(argument, key, None)
