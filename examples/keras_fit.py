"""A Keras fit that survives anything: kill it at any moment, run it again, and it ends with the same digest."""

import hashlib

import keras
import numpy as np

import perdure
from perdure.keras import Batches, Resume

with perdure.open("runs/keras_fit", config={"epochs": 12, "rate": 0.01}, seed=1) as run:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2000, 16)).astype(np.float32)
    y = (np.sin(x).sum(axis=1) > 0).astype(np.float32)
    model = keras.Sequential(
        [keras.Input((16,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dropout(0.2),
         keras.layers.Dense(1, activation="sigmoid")]
    )  # fmt: skip
    model.compile(keras.optimizers.Adam(run.config["rate"]), "binary_crossentropy", metrics=["accuracy"])
    resume = Resume(run, every=("epoch", "2s"), best="max:val_accuracy")
    history = model.fit(
        Batches(x[:1600], y[:1600], batch_size=32),
        validation_data=(x[1600:], y[1600:]),
        epochs=run.config["epochs"],
        verbose=0,
        callbacks=[
            keras.callbacks.ReduceLROnPlateau(patience=2),
            keras.callbacks.EarlyStopping(patience=8),
            resume,
        ],
    )
    resume.restore_best()
    weights = b"".join(np.ascontiguousarray(array).tobytes() for array in model.get_weights())
    print("epochs", len(history.epoch), "best", resume.best_epoch, round(resume.best_value, 4))
    print("digest", hashlib.sha256(weights + repr(history.history).encode()).hexdigest())
