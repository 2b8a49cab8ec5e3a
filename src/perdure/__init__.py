"""perdure makes long training runs unbreakable.

Rerun the same command after Ctrl+C, a crash, `kill -9`, a reboot or a power cut, and the run goes on and ends with the
very bits that the uninterrupted run would have given.
"""

from typing import TYPE_CHECKING, Any

from perdure.errors import ChangedError, DamagedError, LockedError, PerdureError, StorageError, UsageError

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    """Load verbs and adapters when they are asked for: `perdure status` answers without them."""
    if name in {"Run", "open"}:
        from perdure import run

        return getattr(run, name)
    if name in {"boosting", "keras", "sklearn"}:
        import importlib

        return importlib.import_module(f"perdure.{name}")
    raise AttributeError(f"module 'perdure' has no attribute {name!r}")
