"""The durable store of a run: database, journal, blobs, lock, backup."""

from perdure.store.store import DATABASE, Store

__all__ = ["DATABASE", "Store"]
