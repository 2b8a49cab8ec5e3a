"""Not deterministic on purpose: the order of a set of texts differs in every process, and sums depend on order."""

import perdure


def words():
    return {f"word {number}": 10.0 ** (number % 9) / 3 for number in range(40)}


def total(weights):
    result = 0.0
    chosen = set(weights)
    for word in chosen:
        result = result * 0.5 + weights[word]
    return {"count": len(chosen), "total": result}


with perdure.open("runs/set_order", budget=None) as run:
    print(run.step("total", total, run.step("words", words)))
