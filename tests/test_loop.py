"""Loops: what counts, what is restored, and that where a loop was left never shows in its results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perdure
import processes
from inprocess import Dead, die, killed, train
from perdure.errors import StateError, StorageError, UsageError
from perdure.snapshot import commit


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run"


def opened(place: Path, **options: Any) -> perdure.Run:
    return perdure.open(place, **({"budget": None} | options))


def count(run: perdure.Run, total: int = 4, **options: Any) -> tuple[Any, dict[str, Any], Iterator[int]]:
    state = {"n": {"count": 0}}
    loop = run.range("loop", total, state=state, version="1", **options)
    return loop, state, iter(loop)


def test_a_completed_loop_yields_nothing_and_restores_its_final_state(place: Path) -> None:
    first = train(place)
    weights = np.zeros(4)
    again = train(place, state={"w": weights})
    assert weights.tobytes() == first.tobytes() and not again.any()  # nothing ran


def test_an_exception_counts_nothing_of_its_iteration(place: Path) -> None:
    state = {"n": {"count": 0}}
    with pytest.raises(ZeroDivisionError), opened(place) as run:
        for position in run.range("loop", 4, state=state, version="1"):
            state["n"]["count"] += 1
            run.log(position=position)
            if position == 2:
                raise ZeroDivisionError
    with killed(place) as run:
        state = {"n": {"count": 0}}
        assert next(iter(run.range("loop", 4, state=state, version="1"))) == 2
        assert state["n"]["count"] == 2
        assert [entry["position"] for entry in run.history("loop")] == [0, 1]


def leave_by_break(loop: Iterable[int], run: perdure.Run, state: dict[str, Any]) -> None:
    for position in loop:
        state["n"]["count"] += 1
        run.log(position=position)
        if position == 1:
            break


def leave_by_return(loop: Iterable[int], run: perdure.Run, state: dict[str, Any]) -> int:
    for position in loop:
        state["n"]["count"] += 1
        run.log(position=position)
        if position == 1:
            return position
    return -1


def leave_in_a_try(loop: Iterable[int], run: perdure.Run, state: dict[str, Any]) -> None:
    for position in loop:
        try:
            state["n"]["count"] += 1
            run.log(position=position)
        finally:
            if position == 1:
                break  # noqa: B012


def leave_by_stop(loop: Any, run: perdure.Run, state: dict[str, Any]) -> None:
    for position in loop:
        if position == 1:
            loop.stop()
        state["n"]["count"] += 1
        run.log(position=position)


def leave_a_wrapped_one(loop: Iterable[int], run: perdure.Run, state: dict[str, Any]) -> None:
    def bar(inner: Iterable[int]) -> Iterator[int]:
        yield from inner

    def counted(inner: Iterable[int]) -> Iterator[int]:
        for item in inner:  # noqa: UP028 - another way to close it
            yield item

    for position in bar(counted(loop)):
        state["n"]["count"] += 1
        run.log(position=position)
        if position == 1:
            break


LEAVINGS = [leave_by_break, leave_by_return, leave_in_a_try, leave_by_stop, leave_a_wrapped_one]


@pytest.mark.parametrize("leave", LEAVINGS, ids=lambda leave: leave.__name__)
def test_an_iteration_that_ends_the_loop_counts_and_the_loop_stays_ended(place: Path, leave: Any) -> None:
    for attempt in range(2):
        state = {"n": {"count": 0}}
        with opened(place) as run:
            leave(run.range("loop", 4, state=state, version="1"), run, state)
            assert [entry["position"] for entry in run.history("loop")] == [0, 1], attempt
        assert state["n"]["count"] == 2, attempt
    with killed(place) as run:
        assert [phase.state for phase in run._store.units.phases()] == ["completed"]


def test_an_exception_that_the_script_catches_leaves_the_loop_where_it_was(place: Path) -> None:
    def script(run: perdure.Run, fail: bool) -> int:
        state = {"n": {"count": 0}}
        try:
            for position in run.range("loop", 3, state=state, version="1"):
                state["n"]["count"] += 1
                if fail and position == 1:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        run.step("after", len, "abc", version="1")
        return state["n"]["count"]

    with opened(place) as run:
        script(run, fail=True)
        assert not run._session.signals.waits_for_save_point
    with opened(place) as run:
        assert script(run, fail=False) == 3


def test_more_iterations_go_on_from_the_end_and_fewer_are_refused(tmp_path: Path) -> None:
    train(tmp_path / "run", epochs=2)
    longer = train(tmp_path / "run", epochs=4)
    straight = train(tmp_path / "straight", epochs=4)
    assert straight.tobytes() == longer.tobytes()
    with pytest.raises(UsageError, match="has run 4 iterations already and is asked for 3"):
        train(tmp_path / "run", epochs=3)


def test_a_loop_asked_for_more_is_running_again_until_it_is_through(place: Path) -> None:
    train(place, epochs=2)
    train(place, epochs=4, stop_after=2)
    with killed(place, seed=3) as run:
        assert [phase.state for phase in run._store.units.phases()] == ["running"]


@pytest.mark.parametrize("total", [-1, 1.5, True, "3", None])
def test_a_number_of_iterations_that_is_none_is_refused(place: Path, total: Any) -> None:
    with pytest.raises(UsageError, match="whole number"), opened(place) as run:
        run.range("loop", total)


def test_a_loop_of_no_iterations_is_complete(place: Path) -> None:
    for _ in range(2):
        with opened(place) as run:
            assert list(run.range("loop", 0, state={"w": np.zeros(1)}, version="1")) == []
            assert run._store.units.phases()[0].state == "completed"


def test_a_loop_is_iterated_over_once(place: Path) -> None:
    with pytest.raises(UsageError, match="already iterated over"), opened(place) as run:
        loop = run.range("loop", 2, version="1")
        list(loop)
        list(loop)


def test_other_names_in_state_are_refused_with_both_lists(place: Path) -> None:
    train(place, stop_after=2)
    with pytest.raises(StateError, match=r"saved with state \['w'\] and has \['v'\] now"):
        train(place, state={"v": np.zeros(4)})


def test_a_process_that_died_between_the_last_snapshot_and_the_note_of_it_is_complete_on_the_rerun(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: object, **__: object) -> None:
        raise Dead

    run = opened(place)
    with monkeypatch.context() as patched:
        patched.setattr("perdure.phase.Session.complete", dead)
        with pytest.raises(Dead):
            list(run.range("loop", 2, state={"w": np.zeros(1)}, version="1"))
    die(run)
    with opened(place) as run:
        assert list(run.range("loop", 2, state={"w": np.zeros(1)}, version="1")) == []
        assert run._store.units.phases()[0].state == "completed"


# -- batches ---------------------------------------------------------------------------------------------------------


def batched(
    place: Path,
    *,
    die_at: tuple[int, int, int] | None = None,
    body: Any = None,
    every: Any = 1,
    epochs: int = 3,
    **options: Any,
) -> list[Any]:
    """A loop with two `run.batches` a body; returns all that it saw, kept in its state."""
    seen: list[Any] = []
    run = opened(place, seed=1)
    try:
        loop = run.range("loop", epochs, state={"seen": seen}, every=every, version="1", **options)
        for epoch in loop:
            run.log(at="start", known=len(run.history("loop")))
            for stream in range(2):
                for number, rows in enumerate(run.batches(10, batch_size=3)):
                    if (epoch, stream, number) == die_at:
                        run._attempt.drain()
                        raise Dead
                    seen.append([epoch, stream, rows.tolist(), float(np.random.rand())])
                    run.insert("rows", [{"epoch": epoch, "sum": int(rows.sum())}])
                    if body is not None:
                        body(run, loop, epoch, stream, number)
            run.log(at="end", count=len(seen))
        result = [
            seen,
            run.history("loop"),
            [tuple(r) for r in run._store.database.rows("SELECT * FROM rows")],
        ]
        result += [loop.best_value, loop.best_position]
    except Dead:
        die(run)
        return []
    run.close()
    return result


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return batched(tmp_path_factory.mktemp("whole") / "run")


@pytest.mark.parametrize("every", [1, 3, "1ms", ("epoch", 4)])
@pytest.mark.parametrize("die_at", [(0, 0, 1), (0, 1, 0), (0, 1, 2), (1, 0, 0), (2, 0, 3), (2, 1, 3)])
def test_wherever_a_loop_dies_between_batches_it_ends_with_the_same_rows_history_and_bits(
    place: Path, whole: list[Any], die_at: tuple[int, int, int], every: Any
) -> None:
    assert batched(place, die_at=die_at, every=every) == []
    assert batched(place, every=every) == whole


def test_a_loop_that_dies_after_every_second_batch_gets_there_all_the_same(
    place: Path, whole: list[Any]
) -> None:
    handed_out = []

    def body(*_: Any) -> None:
        handed_out.append(1)
        if len(handed_out) % 3 == 0:
            raise Dead

    for _ in range(30):
        found = batched(place, body=body)
        if found:
            break
    assert found == whole and len(handed_out) > 30


def test_the_order_of_batches_depends_on_seed_and_iteration_and_covers_everything(
    place: Path, whole: list[Any]
) -> None:
    orders = {}
    for epoch, stream, rows, _ in whole[0]:
        orders.setdefault((epoch, stream), []).extend(rows)
    assert all(sorted(order) == list(range(10)) for order in orders.values())
    assert orders[0, 0] != orders[1, 0]


def test_batches_can_keep_the_order_and_drop_the_rest(place: Path) -> None:
    with opened(place) as run:
        for _ in run.range("loop", 1, version="1"):
            kept = [rows.tolist() for rows in run.batches(7, batch_size=3, shuffle=False, drop_last=True)]
            assert kept == [[0, 1, 2], [3, 4, 5]]
            assert list(run.batches(0, batch_size=3)) == []
            for size, step in ((-1, 1), (3, 0)):
                with pytest.raises(UsageError, match="not possible"):
                    run.batches(size, batch_size=step)


def test_a_stop_between_two_batches_is_remembered_over_a_death(place: Path, tmp_path: Path) -> None:
    def body(run: Any, loop: Any, epoch: int, stream: int, number: int) -> None:
        if (epoch, stream, number) == (1, 0, 1):
            loop.stop()

    expected = batched(tmp_path / "straight", body=body)
    assert {epoch for epoch, *_ in expected[0]} == {0, 1}
    assert batched(place, body=body, die_at=(1, 1, 2)) == []
    assert batched(place, body=body) == expected


def test_a_metric_logged_between_two_batches_is_remembered_over_a_death(place: Path, tmp_path: Path) -> None:
    def body(run: Any, loop: Any, epoch: int, stream: int, number: int) -> None:
        if (stream, number) == (0, 1):
            run.log(score=float(-epoch))

    expected = batched(tmp_path / "straight", body=body, best="max:score")
    assert expected[3:] == [0.0, 0]
    assert batched(place, body=body, best="max:score", die_at=(1, 1, 2)) == []
    assert batched(place, body=body, best="max:score") == expected


def test_a_body_that_no_longer_asks_for_batches_is_told_so(place: Path) -> None:
    batched(place, die_at=(0, 1, 2))
    with pytest.raises(UsageError, match=r"never called run\.batches"), opened(place, seed=1) as run:
        list(run.range("loop", 3, state={"seen": []}, every=1, version="1"))


# -- best ------------------------------------------------------------------------------------------------------------


def best_of(place: Path, values: list[Any], best: str, *, stop_after: int | None = None) -> Any:
    run = opened(place)
    w = np.zeros(2)
    try:
        loop = run.range("loop", len(values), state={"w": w}, best=best, version="1")
        for position in loop:
            w += 1
            run.log(score=values[position])
            if position == stop_after:
                run._attempt.drain()
                raise Dead
        final = w.copy()
        if loop.best_position is not None:
            loop.restore_best()
    except Dead:
        die(run)
        return None
    except BaseException as error:
        run.__exit__(type(error), error, None)
        raise
    run.close()
    return loop.best_value, loop.best_position, w.tolist(), final.tolist()


NAN = float("nan")


@pytest.mark.parametrize(
    ("values", "goal", "value", "position"),
    [
        ([1, 3, 2], "max:score", 3, 1),
        ([1, 3, 1], "min:score", 1, 0),
        ([NAN, 2, NAN, 1], "max:score", 2, 1),
        ([2, 2, 2], "max:score", 2, 0),
        ([float("-inf"), float("inf"), 0], "max:score", float("inf"), 1),
        ([np.float32(0.5), 1, 2], "min:score", 0.5, 0),
    ],
)
def test_the_best_state_is_the_first_one_with_the_best_value_also_after_a_death(
    tmp_path: Path, values: list[Any], goal: str, value: float, position: int
) -> None:
    expected = (value, position, [position + 1.0] * 2, [float(len(values))] * 2)
    assert best_of(tmp_path / "a", values, goal) == expected
    assert best_of(tmp_path / "a", values, goal)[:3] == expected[:3]
    for stop_after in range(1, len(values)):
        folder = tmp_path / f"b{stop_after}"
        best_of(folder, values, goal, stop_after=stop_after)
        assert best_of(folder, values, goal) == expected


def test_nothing_but_nan_has_no_best(place: Path) -> None:
    assert best_of(place, [NAN, NAN], "max:score")[:2] == (None, None)


def test_the_iteration_that_a_break_ended_can_be_the_best(place: Path) -> None:
    with opened(place) as run:
        w = np.zeros(1)
        loop = run.range("loop", 5, state={"w": w}, best="max:score", version="1")
        for position in loop:
            w += 1
            run.log(score=position)
            if position == 2:
                break
        assert (loop.best_value, loop.best_position) == (2, 2)
        w[:] = 0
        loop.restore_best()
        assert w.tolist() == [3]


@pytest.mark.parametrize("goal", ["score", "best:score", "max:", "max", ":score"])
def test_a_goal_that_is_not_understood_is_refused(place: Path, goal: str) -> None:
    with pytest.raises(UsageError, match="max:val_auc"):
        best_of(place, [1], goal)


def test_a_metric_that_was_not_logged_or_is_no_number_names_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"looks at 'other'.*did not log it"):
        best_of(tmp_path / "a", [1, 2], "max:other")
    with pytest.raises(UsageError, match="'score' was logged as 'text'"):
        best_of(tmp_path / "b", ["text"], "max:score")


def test_restoring_a_best_state_that_was_never_asked_for_is_refused(place: Path) -> None:
    with opened(place) as run:
        loop = run.range("loop", 1, version="1")
        list(loop)
        with pytest.raises(UsageError, match="no best state"):
            loop.restore_best()


# -- history ---------------------------------------------------------------------------------------------------------


def test_history_has_what_was_logged_a_moment_ago_whatever_is_being_written(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    real = commit.record

    def slow(*arguments: Any, **options: Any) -> None:
        time.sleep(0.02)
        real(*arguments, **options)

    monkeypatch.setattr(commit, "record", slow)
    with opened(place) as run:
        for position in run.range("loop", 5, state={"w": np.zeros(1)}, version="1"):
            run.log(a=position)
            assert [entry["a"] for entry in run.history("loop")] == list(range(position + 1))


@pytest.mark.parametrize("value", [np.zeros(2), [1], {"a": 1}, object(), b"x"])
def test_what_history_cannot_hold_is_refused_by_name(place: Path, value: object) -> None:
    with pytest.raises(UsageError, match=r"run\.log\(thing=\.\.\.\)"), opened(place) as run:
        for _ in run.range("loop", 1, version="1"):
            run.log(thing=value)


# -- write errors ----------------------------------------------------------------------------------------------------


def test_a_write_error_that_the_body_swallows_comes_again_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(place: Path) -> list[Any]:
        weights = np.zeros(1)
        with opened(place) as run:
            for position in run.range("loop", 4, state={"w": weights}, every=1, version="1"):
                run.log(a=position)
                try:
                    for _ in run.batches(4, batch_size=1):
                        weights += 1
                except Exception:
                    pass
            return [run.history("loop"), weights.tolist()]

    expected = script(tmp_path / "straight")
    real, calls = commit.record, []

    def failing(*arguments: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise StorageError("the disk is full")
        real(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(commit, "record", failing)
        with pytest.raises(StorageError, match="disk is full"):
            script(tmp_path / "run")
    assert len(calls) == 3
    assert script(tmp_path / "run") == expected


@pytest.mark.parametrize("saves_fail", [True, False])
def test_a_file_of_the_script_that_fails_with_a_save_lets_the_save_s_error_be_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, saves_fail: bool
) -> None:
    record = commit.record

    def failing(store: Any, generation: Any, *arguments: Any, **options: Any) -> None:
        if saves_fail and generation.cursor.position == 1:
            raise StorageError("the disk is full")
        record(store, generation, *arguments, **options)

    monkeypatch.setattr(commit, "record", failing)
    error, said = (StorageError, "the disk is full") if saves_fail else (OSError, "no room")
    with pytest.raises(error, match=said), opened(tmp_path / "run") as run:
        for number in run.range("loop", 3, state={"w": np.zeros(3)}):
            if number == 1:
                raise OSError("no room for a file of the script")
    ((code,),) = processes.rows(tmp_path / "run", "SELECT exit_code FROM attempts")
    assert code == (74 if saves_fail else 1)


# -- the array that is replaced --------------------------------------------------------------------------------------


def replaced(place: Path, *, in_place: bool, epochs: int = 4) -> None:
    with opened(place) as run:
        w = np.zeros(2)
        for _ in run.range("loop", epochs, state={"w": w}, version="1"):
            if in_place:
                w += 1
            else:
                w = w + 1


def test_a_script_that_replaces_its_arrays_is_warned_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    replaced(tmp_path / "a", in_place=False)
    assert capfd.readouterr().err.count("no array of state= changed between two snapshots") == 1
    replaced(tmp_path / "b", in_place=True)
    assert "no array of state=" not in capfd.readouterr().err


def test_a_new_array_under_its_name_in_state_is_seen(place: Path) -> None:
    def script() -> list[float]:
        state = {"w": np.zeros(2)}
        with opened(place) as run:
            for _ in run.range("loop", 3, state=state, version="1"):
                state["w"] = state["w"] + 1
        return state["w"].tolist()  # type: ignore[no-any-return]

    assert script() == script() == [3.0, 3.0]
