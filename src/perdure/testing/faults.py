"""Disks that fail, inside the test's own process: the n-th call of the operating system raises.

Python's own calls are met, and so is every file that perdure publishes (snapshots, results, exports). SQLite calls the
system by itself: a small file system or `ulimit -f` is what makes it fail. For a script in a process of its own,
`PERDURE_FAIL_AT=snapshot.sync:2=ENOSPC` does the same at a seam.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

_FUNCTIONS = {  # what a test asks for -> the functions of `os` that do it
    "write": ("write",),
    "fsync": ("fsync",),
    "rename": ("rename", "replace"),
    "unlink": ("unlink", "remove"),
}


@dataclass(slots=True)
class Failing:
    """What happened so far: `calls` counts all calls since the block began, `failed` those that raised."""

    calls: int = 0
    failed: int = 0
    _mutex: threading.Lock = field(default_factory=threading.Lock)

    def _meets(self, number: int, *, onward: bool) -> bool:
        with self._mutex:  # the snapshot writer has a thread of its own
            self.calls += 1
            met = self.calls >= number if onward else self.calls == number
            self.failed += met
            return met


@contextmanager
def failing(call: str, *, error: str = "ENOSPC", number: int = 1, onward: bool = False) -> Iterator[Failing]:
    """Within the block the `number`-th `call` fails, as on a bad or full disk; with `onward` all later ones too.

    call: "write", "fsync", "rename" or "unlink". error: a name out of `errno`. Raises ValueError for others. A number
    that is never reached only counts: so a test learns how many calls there are to fail.
    """
    code = getattr(errno, error, None)
    if call not in _FUNCTIONS or not isinstance(code, int):
        raise ValueError(f"failing({call!r}, error={error!r}): the calls are {', '.join(_FUNCTIONS)}, "
                         "and an error is a name such as ENOSPC or EIO")  # fmt: skip
    seen = Failing()
    before = {name: getattr(os, name) for name in _FUNCTIONS[call]}

    def instead(real: Callable[..., Any]) -> Callable[..., Any]:
        def function(*positional: Any, **named: Any) -> Any:
            if seen._meets(number, onward=onward):
                raise OSError(code, os.strerror(code))
            return real(*positional, **named)

        return function

    for name, real in before.items():
        setattr(os, name, instead(real))
    try:
        yield seen
    finally:
        for name, real in before.items():
            setattr(os, name, real)
