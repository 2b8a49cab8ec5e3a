"""perdure makes long training runs unbreakable.

Rerun the same command after Ctrl+C, a crash, `kill -9`, a reboot or a power cut, and the run goes on and ends with the
very bits that the uninterrupted run would have given.
"""

from perdure.errors import ChangedError, DamagedError, LockedError, PerdureError, StorageError, UsageError
from perdure.run import Run, open

__version__ = "0.1.0"
__all__ = [
    "ChangedError",
    "DamagedError",
    "LockedError",
    "PerdureError",
    "Run",
    "StorageError",
    "UsageError",
    "open",
]
