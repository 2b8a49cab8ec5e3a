"""Small Keras fits with everything that has state.
 Of environment variables: CASE (arrays, unbuilt, unseeded, stopping, batches, stream, or plain: without Resume),
EPOCHS, FITS, UNITS, INTERRUPT_AT.
"""

import hashlib
import json
import os
import random
import signal

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

import perdure
from perdure.keras import Batches, Resume

CASE = os.environ.get("CASE", "arrays")
EPOCHS = int(os.environ.get("EPOCHS", "5"))
FITS = int(os.environ.get("FITS", "2"))
UNITS = int(os.environ.get("UNITS", "6"))


def digest(model, history):
    sha = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        sha.update(np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value)).tobytes())
    sha.update(json.dumps([history.history, history.epoch], sort_keys=True).encode())
    return sha.hexdigest()[:16]


def augment(x, y, epoch, rows):
    return x * (1 + 0.01 * (epoch + rows % 3)).astype(np.float32)[:, None, None], y


def make_model():
    layers = keras.layers
    head = [] if CASE == "unbuilt" else [keras.Input((8, 2))]
    model = keras.Sequential(
        [
            *head,
            layers.Conv1D(4, 3),
            layers.BatchNormalization(),
            layers.SpatialDropout1D(0.2),
            layers.LSTM(UNITS) if CASE == "unbuilt" else layers.GlobalAveragePooling1D(),
            layers.Dense(UNITS, activation="relu"),
            layers.GaussianNoise(0.1),
            layers.Dropout(0.2),
            layers.Dense(1, name="head"),
        ]
    )
    rate = keras.optimizers.schedules.CosineDecay(0.01, 20) if CASE == "stream" else 0.01
    model.compile(optimizer=keras.optimizers.Adam(rate, use_ema=CASE == "batches", ema_momentum=0.5), loss="mse",
                  metrics=["mae"])  # fmt: skip
    return model


class Interrupt(keras.callbacks.Callback):
    """Sends this process a signal after so many batches, as Ctrl+C would."""

    def on_train_batch_end(self, batch, logs=None):
        global batches
        batches += 1
        if batches == int(os.environ.get("INTERRUPT_AT", "-1")):
            os.kill(os.getpid(), signal.SIGINT)


class Counts(keras.callbacks.Callback):
    """State of the user's own: numbers, a list that the script knows too, an array."""

    def __init__(self, losses):
        super().__init__()
        self.losses, self.epochs, self._sums = losses, 0, np.zeros(3)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs += 1
        self.losses.append(logs["loss"])
        self._sums += random.random()


def callbacks(run):
    found = [
        Counts(losses),
        keras.callbacks.EarlyStopping(
            "val_loss", patience=2 if CASE == "stopping" else 9, restore_best_weights=True
        ),
        keras.callbacks.ModelCheckpoint(
            str(run.folder / "checkpoint.weights.h5"), save_best_only=True, save_weights_only=True
        ),
        Interrupt(),
    ]
    if CASE != "stream":
        found.append(keras.callbacks.ReduceLROnPlateau("loss", factor=0.5, patience=1, min_delta=0.05))
        found.append(keras.callbacks.LearningRateScheduler(lambda _, rate: rate * 0.97))
    return found


def train(run, model, name, epochs, x, y):
    resume = [] if CASE == "plain" else [Resume(run, name=name, every=EVERY, best="min:val_loss")]
    data = {"x": x[:48], "y": y[:48], "batch_size": 16}
    if CASE in {"batches", "stream"}:
        workers = 2 if CASE == "stream" else 1
        data = {"x": Batches(x[:48], y[:48], batch_size=8, augment=augment, infinite=CASE == "stream",
                             workers=workers)}  # fmt: skip
    if CASE == "stream":
        data["steps_per_epoch"] = 4
    history = model.fit(**data, epochs=epochs, validation_data=(x[48:], y[48:]), verbose=0,
                        callbacks=[*resume, *callbacks(run)])  # fmt: skip
    print(name, len(history.epoch), digest(model, history))
    return resume


EVERY = ("epoch", 2) if CASE in {"batches", "stream"} else None
batches, losses = 0, []
with perdure.open("runs/keras", seed=None if CASE == "unseeded" else 7, budget=None) as run:
    generator = np.random.default_rng(1)
    x = generator.normal(size=(64, 8, 2)).astype(np.float32)
    y = (x[:, :, 0].mean(1, keepdims=True) * x[:, :1, 1]).astype(np.float32)
    if CASE == "stopping":
        y[:48] = generator.normal(size=(48, 1))  # nothing to learn
    model = make_model()
    resume = train(run, model, "fit", EPOCHS, x, y)
    if FITS > 1:
        train(run, model, "finetune", 2, x, y)
    if resume:
        rows = run.history("fit")
        resume[0].restore_best()
        print("best", resume[0].best_epoch, resume[0].best_value, len(rows), rows[0]["loss"])
    print("counted", len(losses), sum(losses), random.random())
