"""A pool of spawned processes in which a unit may crash, hang or be killed, and only that unit fails.

Each worker has a pipe of its own, so that a death never garbles another's answer, and a process group of
its own, so that a kill takes along whatever the unit started. The pool belongs to one thread: on Linux
workers die with the thread that started them.
"""

from __future__ import annotations

import atexit
import functools
import multiprocessing
import operator
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

from perdure.clock import Clock, SystemClock
from perdure.errors import MainGuardError, UsageError
from perdure.executors.message import Reply, pack, unpack
from perdure.executors.worker import serve

START_LIMIT = 300.0  # seconds for a worker to import what the function needs
START_TRIES = 3
LOOK = 1.0  # seconds between looks at processes whose death no pipe may tell
REMOVED = ("PERDURE_KILL_AT", "PERDURE_SEAM_LOG")  # only the driver has seams


@dataclass(frozen=True, slots=True)
class Call:
    """One unit to run: `function(key, argument)`."""

    key: str
    argument: object


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: with a value, or with one line of failure.

    `traceback` is empty when the process died; `retryable` is False when another try must fail too.
    """

    key: str
    value: object | None
    failure: str | None
    traceback: str
    seconds: float
    retryable: bool


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection
    since: float  # when it was spawned, then when its call was sent
    ready: bool = False
    call: Call | None = None


class ProcessPool:
    """Runs calls of one importable function in up to `workers` processes, each for at most `timeout` s."""

    def __init__(
        self,
        function: Callable[[str, object], object],
        *,
        workers: int,
        timeout: float | None,
        clock: Clock | None = None,
    ) -> None:
        """Start nothing yet; raises UsageError for a function that a worker could not import."""
        if workers < 1:
            raise UsageError(f"workers={workers}: give at least 1")
        self._function = _packed(function)
        self._size = workers
        self._timeout = timeout
        self._clock: Clock = clock or SystemClock()
        self._pending: deque[Call] = deque()
        self._workers: list[_Worker] = []
        self._outcomes: list[Outcome] = []
        self._failed_starts = 0
        self._oom_kills = _oom_kills()
        atexit.register(self.close)  # runs before multiprocessing's own, which would wait for workers

    @property
    def pending(self) -> list[str]:
        """Keys that wait for a worker."""
        return [call.key for call in self._pending]

    @property
    def running(self) -> list[str]:
        """Keys that a worker has."""
        return [worker.call.key for worker in self._workers if worker.call]

    def submit(self, call: Call) -> None:
        """Hand in a call; it starts as soon as a worker is free, and ends in a later `wait`."""
        self._pending.append(call)
        self._dispatch()

    def wait(self, timeout: float | None = None) -> list[Outcome]:
        """Return once at least one call has ended; [] after `timeout` s, or when there is nothing to do.

        Raises MainGuardError or UsageError when workers cannot start at all.
        """
        end = None if timeout is None else self._clock.monotonic() + timeout
        while not self._outcomes and (self._pending or self.running):
            self._dispatch()
            left = LOOK if end is None else min(LOOK, end - self._clock.monotonic())
            self._look(0.0 if self._outcomes else max(0.0, left))
            if left <= 0:
                break
        self._dispatch()
        ended, self._outcomes = self._outcomes, []
        return ended

    def close(self) -> None:
        """Kill every worker with all it started, at once; calls that have not ended are forgotten."""
        atexit.unregister(self.close)
        self._pending.clear()
        for worker in self._workers:
            _kill(worker.process)
        while self._workers:
            self._reap(self._workers[-1])

    def _dispatch(self) -> None:
        for worker in list(self._workers):
            if worker.ready and worker.call is None and self._pending:
                self._send(worker, self._pending.popleft())
        spare = sum(worker.call is None for worker in self._workers)
        while spare < len(self._pending) and len(self._workers) < self._size:
            self._spawn()
            spare += 1

    def _spawn(self) -> None:
        ours, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        process = context.Process(target=serve, args=(theirs, os.getpid()), name="perdure-worker")
        with _interrupts_held(), _worker_environment():
            process.start()
            self._workers.append(_Worker(process, ours, self._clock.monotonic()))
        theirs.close()
        try:
            ours.send_bytes(self._function)
        except OSError:
            pass  # it is dead already, which the next look finds

    def _send(self, worker: _Worker, call: Call) -> None:
        try:
            content = pack((call.key, call.argument))
        except Exception as error:  # pickle raises TypeError, AttributeError, RecursionError and its own
            failure = f"{type(error).__name__}: the argument cannot be sent to a worker: {error}"
            self._outcomes.append(Outcome(call.key, None, failure, "", 0.0, retryable=False))
            return
        worker.call, worker.since = call, self._clock.monotonic()
        try:
            worker.pipe.send_bytes(content)
        except OSError:
            self._bury(worker)

    def _look(self, limit: float) -> None:
        """Take in answers, deaths and time-outs; wait up to `limit` s for the first."""
        signs = [sign for worker in self._workers for sign in (worker.pipe, worker.process.sentinel)]
        ready = connection.wait(signs, self._until_next_deadline(limit))
        for worker in list(self._workers):
            if worker.pipe in ready:
                self._receive(worker)
            elif worker.process.sentinel in ready or _has_ended(worker.process):
                self._bury(worker)
            elif self._deadline(worker) <= self._clock.monotonic():
                self._bury(worker, timed_out=True)

    def _receive(self, worker: _Worker) -> None:
        try:
            content = worker.pipe.recv_bytes()
        except (EOFError, OSError):
            self._bury(worker)
            return
        try:
            reply: Reply = unpack(content)
        except Exception as error:  # whatever the result's own classes raise
            line = f"{type(error).__name__}: the result cannot be read back: {error}"
            reply = Reply(failure=line, retryable=False)
        if worker.ready:
            self._end(worker, reply)
        elif reply.failure is None:
            worker.ready, self._failed_starts = True, 0
        else:
            self._reap(worker)
            raise UsageError(
                f"a worker cannot load the function: {reply.failure}\n{reply.traceback}".rstrip()
            )

    def _bury(self, worker: _Worker, *, timed_out: bool = False) -> None:
        """Replace a worker that died or must die; its call, if it had one, has failed."""
        code = self._reap(worker)
        if timed_out and worker.ready:
            failure = f"timed out after {_duration(self._timeout or 0.0)}"
        else:
            failure = self._cause(code)
        if worker.ready:
            self._end(worker, Reply(failure=failure))
            return
        self._failed_starts += 1
        if self._failed_starts >= START_TRIES:
            raise MainGuardError(
                f"{START_TRIES} workers ended before they were ready (the last: {failure}; its own message "
                "is above); a worker imports the script first, so put what starts the run under "
                "`if __name__ == '__main__':`"
            )

    def _end(self, worker: _Worker, reply: Reply) -> None:
        call, worker.call = worker.call, None
        if call is not None:
            seconds = self._clock.monotonic() - worker.since
            self._outcomes.append(
                Outcome(call.key, reply.value, reply.failure, reply.traceback, seconds, reply.retryable)
            )

    def _reap(self, worker: _Worker) -> int | None:
        _kill(worker.process)
        worker.process.join(10.0)
        worker.pipe.close()
        self._workers.remove(worker)
        return worker.process.exitcode

    def _cause(self, code: int | None) -> str:
        if code is None:
            return "did not end within 10 s of being killed"
        if code >= 0:
            return f"the worker process ended with exit code {code}"
        before, self._oom_kills = self._oom_kills, _oom_kills()
        if code == -9 and self._oom_kills > before:
            return "ran out of memory (killed by signal 9)"
        try:
            return f"killed by signal {-code} ({signal.Signals(-code).name})"
        except ValueError:
            return f"killed by signal {-code}"

    def _deadline(self, worker: _Worker) -> float:
        if not worker.ready:
            return worker.since + START_LIMIT
        if worker.call is None or self._timeout is None:
            return float("inf")
        return worker.since + self._timeout

    def _until_next_deadline(self, limit: float) -> float:
        now = self._clock.monotonic()
        return max(0.0, min([limit, *(self._deadline(worker) - now for worker in self._workers)]))


def _packed(function: Callable[[str, object], object]) -> bytes:
    unknown = list(_unknown(function))
    try:
        if unknown:
            raise UsageError("a worker could not find it")
        return pack(function)
    except Exception as error:  # pickle raises TypeError, AttributeError, RecursionError and its own
        name = unknown[0] if unknown else getattr(function, "__qualname__", type(function).__qualname__)
        raise UsageError(
            f"{name!r} cannot be sent to worker processes ({error}); define the function at the top level of "
            "a module, not as a lambda or in another function, and bind only plain values and arrays to it"
        ) from error


def _unknown(function: object) -> Iterator[str]:
    """Names of a function, and of functions bound to it, that cannot be imported."""
    if isinstance(function, functools.partial):
        for part in (function.func, *function.args, *function.keywords.values()):
            if callable(part):
                yield from _unknown(part)
        return
    name = getattr(function, "__qualname__", None)
    module = sys.modules.get(getattr(function, "__module__", None) or "")
    if name is None or module is None:
        return
    try:
        operator.attrgetter(name)(module)
    except AttributeError:
        yield str(name)


def _kill(process: SpawnProcess) -> None:
    """End a worker's whole group; before it is reaped, while its id cannot be anyone else's."""
    if sys.platform != "win32" and process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass  # not its own leader yet, or all gone (macOS says EPERM of a zombie)
    process.kill()


def _has_ended(process: SpawnProcess) -> bool:
    """Ask without reaping: a grandchild may hold the pipes open that should have told."""
    if not hasattr(os, "waitid") or process.pid is None:
        return not process.is_alive()
    try:
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, flags) is not None
    except ChildProcessError:
        return True


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl+C back, here and in the process that is being started (which lets go of it when detached)."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # its own start would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _worker_environment() -> Iterator[None]:
    """Set what a worker must find before it imports anything; spawn offers no other way."""
    names = ("PERDURE_WORKER", *REMOVED)
    before = {name: os.environ.pop(name, None) for name in names}
    os.environ["PERDURE_WORKER"] = "1"
    try:
        yield
    finally:
        del os.environ["PERDURE_WORKER"]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _oom_kills() -> int:
    """Count what the kernel has killed for want of memory; it does not say whom."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600.0), ("min", 60.0)):
        if seconds >= length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"
