"""The first difference of two runs: earliest in the run, and down to the value."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perdure
from inprocess import train
from perdure.prove.comparison import compare, plain
from perdure.prove.values import first_difference, shown


def work(folder: Path, **changed: Any) -> None:
    """A step, parallel-free units with loops inside, rows: what `changed` says is other."""

    def made() -> dict[str, Any]:
        big = np.arange(5000.0)
        big[4321] += changed.get("big", 0)
        return {"big": big, "small": [1, {"deep": changed.get("deep", 2.5)}]}

    with perdure.open(folder, seed=1, budget=None, keep=99) as run:
        run.step("made", made, version="1")
        for unit in run.each("models", ["a", "b"], version="1"):
            w = np.zeros(2)
            for number in run.range("round", 3, state={"w": w}, version="1"):
                w += changed.get("rate", 1) if (unit.key, number) == ("b", 1) else 1
                if changed.get("draw") and (unit.key, number) == ("a", 2):
                    random.random()
                run.insert("rows", [{"n": number, "mark": changed.get("mark", "x")}])
            unit.result = float(w.sum())


def difference(tmp_path: Path, **changed: Any) -> Any:
    work(tmp_path / "one")
    work(tmp_path / "other", **changed)
    return compare(tmp_path / "one", tmp_path / "other")


def test_equal_runs_have_no_difference(tmp_path: Path) -> None:
    assert difference(tmp_path) is None


def test_one_element_of_a_large_array_is_named_with_both_values(tmp_path: Path) -> None:
    found = difference(tmp_path, big=0.5)
    assert (found.phase, found.part, found.where) == ("made", "result", "['big'][4321]")
    assert (found.expected, found.found) == ("4321.0", "4321.5")
    assert found.extent == "1 of 5000 values differ, by up to 0.5"


def test_a_value_deep_in_a_result_is_named(tmp_path: Path) -> None:
    found = difference(tmp_path, deep=2.5000000000000004)
    assert (found.where, found.expected, found.found) == ("['small'][1]['deep']", "2.5", "2.5000000000000004")


def test_a_loop_inside_a_unit_is_named_before_the_results_made_of_it(tmp_path: Path) -> None:
    found = difference(tmp_path, rate=3)
    assert (found.phase, found.part, found.where) == ("models/b/round", "part w", "/value[0]")
    assert "after iteration 2" in found.when
    assert {"models/b/round: w", "models: unit b"} <= set(found.others)


def test_a_random_stream_that_was_drawn_from_more_often_is_named(tmp_path: Path) -> None:
    found = difference(tmp_path, draw=True)
    assert (found.phase, found.part) == ("models/a/round", "part streams")
    assert found.where.startswith("/random/words") and "after iteration 3" in found.when


def test_a_row_is_named_with_its_column(tmp_path: Path) -> None:
    found = difference(tmp_path, mark="y")
    assert (found.phase, found.part, found.where) == ("models/a/round", "table rows", " row 0 ['mark']")


def test_a_difference_that_only_the_history_saw_is_named_at_its_iteration(tmp_path: Path) -> None:
    for name, drift in (("one", 0.0), ("other", 1e-9)):
        w = np.zeros(2)
        with perdure.open(tmp_path / name, budget=None) as run:
            for number in run.range("epoch", 4, state={"w": w}, version="1"):
                w += 1
                run.log(loss=1.0 + (drift if number >= 2 else 0))
    found = compare(tmp_path / "one", tmp_path / "other")
    assert found is not None
    assert (found.part, found.when, found.where) == ("history", "logged in iteration 3", "['loss']")


def test_a_part_whose_snapshot_is_gone_is_named_all_the_same(tmp_path: Path) -> None:
    train(tmp_path / "one", epochs=5)
    train(tmp_path / "other", epochs=5, drift=0.5)  # only the latest two generations stay
    found = compare(tmp_path / "one", tmp_path / "other")
    assert found is not None and found.part == "part w" and "after iteration 1" in found.when
    assert "removed" in found.found


@pytest.mark.parametrize(
    ("one", "other", "where"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, "['b']"),
        ([1, 2], [1, 2, 3], ""),
        (1, 1.0, ""),
        (np.float32([1, np.nan]), np.float32([1, 2]), "[1]"),
        (np.zeros((2, 3)), np.eye(2, 3), "[0, 0]"),
        (np.zeros(2), np.zeros(3), ""),
        (np.array([0.0]), np.array([-0.0]), "[0]"),
        (0.0, -0.0, ""),
        (b"\0", b"\1", ""),
    ],
)
def test_the_first_place_of_two_values_is_found(one: object, other: object, where: str) -> None:
    place = first_difference(one, other)
    assert place is not None and place.where == where and place.expected != place.found


@pytest.mark.parametrize(
    "value", [{"a": [1, None, "x"]}, np.array([np.nan, 1.0]), float("nan"), b"x", np.zeros(0)]
)
def test_a_value_does_not_differ_from_itself(value: object) -> None:
    assert first_difference(value, value) is None


def test_bits_of_a_nan_that_print_alike_are_told_apart() -> None:
    odd = np.array([0x7FF8000000000001], np.uint64).view(np.float64)
    place = first_difference(np.array([np.nan]), odd)
    assert place is not None and place.expected != place.found


def test_a_long_value_is_shown_shortly_and_containers_without_their_marks() -> None:
    assert len(shown("x" * 1000)) <= 60
    assert plain({"dict": [["count", 3], ["inner", {"list": [1, 2]}]]}) == {"count": 3, "inner": [1, 2]}
