"""The durable store of a run: database, journal, blobs, lock, backup."""

from perdure.store.database import DATABASE
from perdure.store.store import Store

__all__ = ["DATABASE", "Store"]
