"""The life of one worker process: cut loose from the terminal, tied to its driver, one call after another."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection

from perdure.errors import UsageError
from perdure.executors.message import Reply, pack, unpack

PR_SET_PDEATHSIG = 1
LINE = 300  # characters of a failure's one line


def serve(pipe: Connection, driver: int) -> None:
    """Take the function from the pipe, say so, then answer calls until the driver closes it.

    `driver` is the process id of the driver: when that one is gone, so is this one.
    """
    _detach(driver)
    try:
        function: Callable[[str, object], object] = unpack(pipe.recv_bytes())
    except EOFError:
        return
    except BaseException as error:  # whatever importing the function's module raises
        pipe.send_bytes(pack(_failed(error)))
        return
    pipe.send_bytes(pack(Reply()))
    while True:
        try:
            call = pipe.recv_bytes()
        except EOFError:
            return
        pipe.send_bytes(_answer(function, call))


def _answer(function: Callable[[str, object], object], call: bytes) -> bytes:
    try:
        key, argument = unpack(call)
        reply = Reply(value=function(key, argument))
    except BaseException as error:  # SystemExit too: a unit must not end its worker quietly
        reply = _failed(error)
    try:
        return pack(reply)
    except Exception as error:  # pickle raises TypeError, AttributeError, RecursionError and its own
        kind = type(reply.value).__name__
        failure = f"{type(error).__name__}: the result, a {kind}, cannot be sent to the driver: {error}"
        return pack(Reply(failure=failure[:LINE], traceback=traceback.format_exc(), retryable=False))


def _failed(error: BaseException) -> Reply:
    said = str(error).strip().partition("\n")[0]
    line = f"{type(error).__name__}: {said}" if said else type(error).__name__
    below = error.__traceback__.tb_next if error.__traceback__ else None  # without our own frame
    text = "".join(traceback.format_exception(type(error), error, below or error.__traceback__))
    return Reply(failure=line[:LINE], traceback=text, retryable=not isinstance(error, UsageError))


def _detach(driver: int) -> None:
    """Lead an own session, so that Ctrl+C is the driver's affair and a kill by group ends what we start."""
    if sys.platform != "win32":
        os.setsid()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what came while we started is dropped
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if sys.platform == "linux":  # works even while something holds the GIL
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if sys.platform != "win32" and os.getppid() != driver:
        _end()
    threading.Thread(target=_watch, daemon=True, name="perdure-driver-watch").start()


def _watch() -> None:
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        _end()


def _end() -> None:
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)
