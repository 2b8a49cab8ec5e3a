"""A NumPy loop with everything a loop can have: momentum, noise from three streams, batches, best, rows, a unit."""

import random

import numpy as np

import perdure


def make_data(count):
    return {"x": np.random.rand(count, 3), "threshold": random.random()}


with perdure.open("runs/raw", config={"rate": 0.1}, seed=7, budget=None) as run:
    data = run.step("data", make_data, 48)
    x, y = data["x"], data["x"].sum(1)
    w, momentum = np.zeros(3), np.zeros(3)
    own = np.random.default_rng(5)
    state = {"w": w, "momentum": momentum, "own": own, "seen": {"count": 0}}
    loop = run.range("epoch", 4, state=state, best="min:loss", every=("epoch", 2))
    for epoch in loop:
        run.log(begun=epoch)
        for rows in run.batches(48, batch_size=16):
            gradient = x[rows].T @ (x[rows] @ w - y[rows]) / len(rows)
            gradient += 0.01 * np.random.randn(3) + 0.001 * random.random() + 0.001 * own.normal(size=3)
            momentum *= 0.9
            momentum += gradient
            w -= run.config["rate"] * momentum
            state["seen"]["count"] += len(rows)
            run.insert("seen_rows", [{"first": int(rows[0]), "mark": bytes([epoch])}])
        run.log(loss=float(((x @ w - y) ** 2).mean()), seen=state["seen"]["count"])
    print("final", w.tobytes().hex(), loop.best_position, len(run.history("epoch")), "drawn", random.random())
