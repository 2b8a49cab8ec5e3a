"""The writer: one thread that makes captures durable while training goes on, at most one in flight.

When it has nothing to write it keeps the attempt's pulse: provisional history, the time it was last seen alive,
and the rolling backup.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

PULSE_SECONDS = 2.0


class Writer:
    """Runs one piece of durable work at a time on a thread of its own."""

    def __init__(self, *, pulse: Callable[[], None]) -> None:
        self._pulse = pulse
        self._changed = threading.Condition()
        self._work: Callable[[], None] | None = None
        self._tidying: list[Callable[[], None]] = []
        self._error: BaseException | None = None
        self._waiting = 0  # threads that wait for what is in flight
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="perdure-writer", daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        return self._work is not None or bool(self._tidying)

    def submit(self, work: Callable[[], None]) -> None:
        """Hand over work; waits while earlier work is in flight. Raises what that ended with."""
        self.wait()
        with self._changed:
            self._work = work
            self._changed.notify_all()

    def afterwards(self, tidying: Callable[[], None]) -> None:
        """Called by work itself: do this when the work is done, so that nobody waits for what is durable."""
        self._tidying.append(tidying)

    def wait(self) -> None:
        """Wait until nothing is in flight. Raises the error that any work has ended with."""
        with self._changed:
            self._waiting += 1
            try:
                self._changed.wait_for(lambda: self._work is None)
            finally:
                self._waiting -= 1
                self._changed.notify_all()
        self.check()

    def settle(self) -> None:
        """As `wait`, and until what the work left for afterwards is done: its memory is free again."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_busy)
        self.check()

    def check(self) -> None:
        """Raise the error of finished work, if there was one; again and again, lest a script swallow it."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Finish what is in flight and end the thread. Errors stay for `check`."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._work is not None or self._closing, timeout=PULSE_SECONDS)
                work = self._work
                if work is None and self._closing:
                    return
            self._do(work or self._pulse)
            if work is not None:  # after a pulse there may be work already, which came meanwhile
                with self._changed:
                    self._work = None
                    self._changed.notify_all()
                    # whoever waited goes on first: tidying would keep the interpreter from them for milliseconds
                    self._changed.wait_for(lambda: not self._waiting or self._work is not None, timeout=0.1)
            for tidy in self._tidying:
                self._do(tidy)
            with self._changed:
                self._tidying = []
                self._changed.notify_all()

    def _do(self, work: Callable[[], None]) -> None:
        try:
            if self._error is None:
                work()
        except BaseException as error:  # handed to the training thread, which stops the run
            self._error = error
