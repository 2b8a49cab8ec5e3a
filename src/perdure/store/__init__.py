"""The durable store of a run: database, journal, blobs, lock, backup."""

from typing import TYPE_CHECKING, Any

from perdure.store.database import DATABASE

if TYPE_CHECKING:
    from perdure.store.store import Store

__all__ = ["DATABASE", "Store"]


def __getattr__(name: str) -> Any:
    """Load the writing side when it is asked for: readers, `perdure status` first, do without."""
    if name == "Store":
        from perdure.store.store import Store

        return Store
    raise AttributeError(f"module 'perdure.store' has no attribute {name!r}")
