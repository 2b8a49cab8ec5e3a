"""Work that takes its time, so that a test can interfere: SLOW names the kind. Prints "ready" when it has begun."""

import os
import time

import numpy as np

import perdure


def nap(seconds):
    print("ready", flush=True)
    time.sleep(seconds)
    return seconds


def unit(key):
    time.sleep(0.05 if key == "first" else 60)
    return key


def loop(run, *, nap, iterations=6):
    w = np.zeros(2000)
    position = None
    for position in run.range("epoch", iterations, state={"w": w}):
        for rows in run.batches(40, batch_size=10):
            w += np.random.rand(2000) * len(rows)
            if position == 1:
                print("ready", flush=True)
            time.sleep(nap)
        run.log(mean=float(w.mean()))
    print("final", w.tobytes().hex()[:64])


if __name__ == "__main__":
    kind = os.environ.get("SLOW", "loop")
    with perdure.open("runs/slow", seed=5, budget=None) as run:
        if kind == "loop":
            loop(run, nap=float(os.environ.get("SLOW_NAP", "0.05")))
        elif kind == "stuck":
            for _ in run.range("epoch", 3, state={"w": np.zeros(1)}):
                nap(60)
        elif kind == "step":
            run.step("nap", nap, 60)
        elif kind == "each":
            for item in run.each("units", ["a", "b"]):
                item.result = nap(60 if item.key == "b" else 0)
        elif kind == "map":
            print("ready", flush=True)
            run.map("units", ["first", "second", "third"], unit, workers=2)
        elif kind == "chatty":
            for number in run.range("epoch", 3, state={"w": np.zeros(1)}):
                print("line", number, "x" * 100_000, flush=True)
