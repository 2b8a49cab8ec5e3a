"""Exact resume for Keras: one callback in the place of BackupAndRestore, and batches with a position.

resume = perdure.keras.Resume(run)
model.fit(x, y, epochs=100, callbacks=[keras.callbacks.EarlyStopping(patience=5), resume])
"""

from perdure.keras.batches import Batches
from perdure.keras.resume import Resume

__all__ = ["Batches", "Resume"]
