"""Steps, parallel units with rows, and sequential units whose bodies hold loops."""

import random

import numpy as np

import perdure


def prepare(count):
    return np.random.rand(count, 2000)  # large enough to be a file of its own


def backtest(symbol):
    return [{"symbol": symbol, "n": n, "value": float(np.random.rand()) + random.random()} for n in range(3)]


def square(number):
    return {"square": number * number, "noise": np.random.rand(4)}


def report(best):
    return {"best": best, "luck": random.random()}


if __name__ == "__main__":
    with perdure.open(
        "runs/units", seed=3, budget=None, phases=["prepare", "backtest", "square", "models"]
    ) as run:
        matrix = run.step("prepare", prepare, 4)
        run.map("backtest", ["AAA", "BBB", "CCC"], backtest, workers=2, into="samples", data=True)
        squares = run.map("square", {"two": 2, "three": 3}, square, workers=1)
        each = run.each("models", ["a", "b"])
        for unit in each:
            weights = np.zeros(3)
            for _ in run.range("round", 2, state={"weights": weights}):
                weights += np.random.rand(3) + matrix[0, :3]
                run.log(mean=float(weights.mean()))
            unit.result = {"weights": weights, "squares": squares["two"]["square"]}
        final = run.step("report", report, sorted(each.results))
        print("final", final, "failed", squares.failed)
