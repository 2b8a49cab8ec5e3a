"""Every error that perdure raises on purpose.

PerdureError
├── UsageError            2   the caller asked for something that cannot be done
│   ├── StateError            an object in `state=` cannot be captured or restored
│   ├── NameReusedError       one phase name used twice in one attempt
│   └── MainGuardError        a worker process ran the training script itself
├── ChangedError         73   the fingerprint differs from what was saved
├── StorageError         74   the disk is full, read-only, or failed
├── LockedError          75   another process holds the run
├── DamagedError          1   stored bytes do not match their digest, and nothing can stand in
├── NondeterminismError   1   work done again gave other bits than the first time
└── FormatError           1   the run was written by another, unsupported version

Stopped is not an error: it is the SystemExit that ends a script after a signal.
"""

from __future__ import annotations

from collections.abc import Sequence


class PerdureError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line exits with."""

    exit_code = 1


class UsageError(PerdureError):
    """The caller asked for something that cannot be done."""

    exit_code = 2


class StateError(UsageError):
    """An object in `state=` cannot be captured or restored."""


class NameReusedError(UsageError):
    """One phase name was used twice in one attempt."""


class MainGuardError(UsageError):
    """A spawned worker imported the training script and reached `perdure.open`."""


class ChangedError(PerdureError):
    """Code, config, arguments, data or libraries differ from what was saved.

    `differences` holds one line for each thing that differs.
    """

    exit_code = 73

    def __init__(self, message: str, differences: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.differences = tuple(differences)

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.args[0], self.differences)


class StorageError(PerdureError):
    """The disk is full, read-only, or failed; the previous generation is intact."""

    exit_code = 74


class LockedError(PerdureError):
    """Another process holds the run."""

    exit_code = 75


class DamagedError(PerdureError):
    """Stored bytes do not match their digest, and nothing can stand in for them."""


class NondeterminismError(PerdureError):
    """Work that was done again gave other bits than the first time."""


class FormatError(PerdureError):
    """The run folder was written by a version that this one cannot read."""


class Stopped(SystemExit):
    """Raised in the main thread after a signal, once everything is saved; its code is 128 + the signal."""
