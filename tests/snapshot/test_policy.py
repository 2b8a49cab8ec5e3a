"""When to save: what `every=` asks for, within the budget; and never another result for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inprocess import FakeClock, Tracked, store_at
from perdure.errors import UsageError
from perdure.snapshot.policy import Budget, Progress, policy_of, seconds_of
from perdure.store.generations import Cursor


def due(every: Any, *, seconds: float = 0.0, batches: int = 0, ended: bool = False) -> bool:
    return policy_of(every).is_due(Progress(seconds, batches, ended))


def test_without_a_wish_each_iteration_is_saved() -> None:
    for every in (None, "epoch", "iteration"):
        assert due(every, ended=True) and not due(every, seconds=1e9, batches=10**9)


def test_a_time_a_number_of_batches_or_whichever_comes_first() -> None:
    assert due("30s", seconds=30) and not due("30s", seconds=29.9, ended=True)
    assert due(500, batches=500) and not due(500, batches=499, ended=True)
    for every in (("epoch", "30s", 500), ["epoch", "30s", 500]):
        assert due(every, ended=True) and due(every, seconds=30) and due(every, batches=500)
        assert not due(every, seconds=29, batches=499)


@pytest.mark.parametrize(
    "every", ["", "soon", "30", "-3s", "0s", "s", 0, -1, True, 0.5, (), [], object(), ("epoch", 0)]
)
def test_what_is_no_time_and_no_number_is_refused(every: Any) -> None:
    with pytest.raises(UsageError, match="every"):
        policy_of(every)


@pytest.mark.parametrize(
    ("text", "seconds"), [("500ms", 0.5), ("30s", 30), ("10m", 600), ("1.5min", 90), ("2h", 7200), (3, 3.0)]
)
def test_times_are_read_as_people_write_them(text: str | float, seconds: float) -> None:
    assert seconds_of(text, name="timeout") == seconds


@pytest.mark.parametrize("text", [-1, 0, float("nan"), True, "never"])
def test_a_time_that_is_none_is_refused(text: Any) -> None:
    with pytest.raises(UsageError, match="timeout"):
        seconds_of(text, name="timeout")


def test_the_budget_delays_saves_until_their_cost_is_within_its_share() -> None:
    clock = FakeClock()
    budget = Budget(clock, 0.01)
    assert not budget.allows_save()
    clock.ticks = 10.0
    assert budget.allows_save()
    budget.spend(0.2)
    budget.learn(0.2)
    assert not budget.allows_save()
    clock.ticks = 40.0
    assert budget.allows_save()
    assert budget.overhead() == pytest.approx(0.005)


def test_no_budget_never_delays() -> None:
    budget = Budget(FakeClock(), None)
    budget.spend(1e9)
    assert budget.allows_save()


def test_a_wall_clock_that_goes_back_changes_nothing(tmp_path: Path) -> None:
    clock = FakeClock()
    with store_at(tmp_path / "run", clock=clock) as store:
        tracked = Tracked(store, {"w": np.zeros(2)}, share=0.01)
        clock.ticks = 100.0
        clock.wall -= 1e7
        assert tracked.track.is_due(iteration_ended=True)
        for position in (1, 2, 3):
            clock.wall -= 1e5
            tracked.save(position)
        numbers = [g.number for g in store.generations.of_loop("epoch")]
        assert numbers == [1, 2, 3]
        assert tracked.track.newest is not None and tracked.track.newest.cursor == Cursor(3)
        tracked.writer.close()


def test_delayed_saves_hold_the_same_bits(tmp_path: Path) -> None:
    parts = []
    for share in (None, 0.01):
        clock = FakeClock()
        with store_at(tmp_path / str(share), clock=clock) as store:
            w = np.zeros(2)
            tracked = Tracked(store, {"w": w}, share=share)
            saved = 0
            for position in range(1, 9):
                w += position
                tracked.track.log({"w": float(w[0])}, position=position - 1)
                clock.ticks += 0.1  # a share of it is less than the first save is thought to cost
                if tracked.track.is_due(iteration_ended=True):
                    tracked.save(position)
                    saved += 1
            tracked.save(8, final=True)
            assert saved == 8 if share is None else saved < 8
            assert tracked.track.newest is not None
            parts.append((tracked.track.newest.parts, store.generations.entries("epoch")))
            tracked.writer.close()
    assert parts[0] == parts[1]
