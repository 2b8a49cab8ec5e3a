"""Ctrl+C, SIGTERM and SIGHUP: finish what can be finished, save, and end with 128 + the signal's number."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from perdure.errors import Stopped

_NAMES = {
    "SIGINT": "Ctrl+C",
    "SIGTERM": "SIGTERM",
    "SIGHUP": "the closed terminal (SIGHUP)",
    "SIGBREAK": "Ctrl+Break",
}
_IMPATIENT = {"SIGINT", "SIGBREAK"}


class Signals:
    """Turns signals into a request that save points answer.

    Inside a loop the request waits for the next save point. Elsewhere it raises `Stopped` at once, except inside
    `deferred` blocks, which finish first. A second Ctrl+C ends the process on the spot; what is committed stays.
    """

    def __init__(self, *, grace: float, tell: Callable[[str], None]) -> None:
        self.requested: int | None = None
        self.waits_for_save_point = False  # set while a loop's iteration runs
        self._grace = grace
        self._tell = tell
        self._shields = 0
        self._previous: dict[int, Any] = {}
        self._timer: threading.Timer | None = None
        if threading.current_thread() is threading.main_thread():
            for name in _NAMES:
                self._install(name)

    def _install(self, name: str) -> None:
        number = getattr(signal, name, None)
        if number is None:
            return
        previous = signal.getsignal(number)
        if name == "SIGHUP" and previous == signal.SIG_IGN:
            return  # started with nohup, or detached: a closed terminal is not meant for it
        self._previous[number] = previous
        signal.signal(number, self._receive)

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._start_grace(number)
        if self.requested is not None:
            if signal.Signals(number).name in _IMPATIENT:
                self._leave_now(number)
            return  # one kill or closed terminal often sends the same signal twice: through a parent, a shell
        self.requested = number
        if self.waits_for_save_point:
            hurry = "; again: stop at once" if signal.Signals(number).name in _IMPATIENT else ""
            self._tell(f"{self.name} received: saving at the next point that can be resumed{hurry}")
        elif not self._shields:
            raise self.stopped()

    def _start_grace(self, number: int) -> None:
        """After SIGTERM somebody will kill the process soon: end in order before that."""
        if number == getattr(signal, "SIGTERM", None) and self._timer is None:
            self._timer = threading.Timer(self._grace, self._leave_now, [number])
            self._timer.daemon = True
            self._timer.start()

    def _leave_now(self, number: int) -> None:
        text = "stopped at once; what was saved is intact, and the same command goes on from there"
        last_words = threading.Thread(target=self._tell, args=[text], daemon=True)
        last_words.start()
        last_words.join(1.0)  # a terminal that takes no more must not keep the process alive
        os._exit(128 + number)

    @property
    def name(self) -> str:
        assert self.requested is not None
        return _NAMES.get(signal.Signals(self.requested).name, signal.Signals(self.requested).name)

    def stopped(self) -> Stopped:
        assert self.requested is not None
        return Stopped(128 + self.requested)

    @contextmanager
    def shielded(self) -> Iterator[None]:
        """Finish this block, whatever signal comes; what ended the run stays what it was."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Finish this block before a signal is answered."""
        with self.shielded():
            yield
        if self.requested is not None and not self._shields and not self.waits_for_save_point:
            raise self.stopped()

    def restore(self) -> None:
        """Give the signals back; the run is left, so nothing is to be ended any more."""
        if self._timer is not None:
            self._timer.cancel()
        for number, previous in self._previous.items():
            signal.signal(number, previous if previous is not None else signal.SIG_DFL)
        self._previous.clear()
        if self.requested == signal.SIGINT:
            # Whoever pressed Ctrl+C often does so again; all is saved, and it would only garble Python's own end.
            atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
