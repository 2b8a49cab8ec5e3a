"""Sequential units: committed one by one, resumed where they were, never mixed up, whatever their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perdure
from inprocess import Dead, die, killed
from perdure.errors import ChangedError, UsageError
from perdure.store.database import Reader
from perdure.store.digest import digests

AWKWARD = ["A", "a", "..", "../../x", "a/b", "a~1b", "a/b/epoch", "CON", "x" * 300, "\u00e9", "e\u0301", "\U0001f600",
           "'; drop table units; --", " ", "fit", "0", "%", "a\nb"]  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run"


def opened(place: Path, **options: Any) -> perdure.Run:
    return perdure.open(place, **({"budget": None} | options))


def digest(place: Path) -> list[Any]:
    reader = Reader(place / "run.db")
    try:
        return sorted((line.path, line.kind, line.state, line.parts) for line in digests(reader))
    finally:
        reader.close()


def models(
    place: Path, keys: Any, *, die_in: str = "", stop_in: str = "", die_in_loop: bool = False
) -> dict[str, Any] | None:
    """Units with a loop, a log and rows each."""
    run = opened(place, seed=4)
    try:
        each = run.each("models", keys, version="1")
        for unit in each:
            w = np.zeros(2)
            for epoch in run.range("epoch", 2, state={"w": w}, version="1"):
                w += np.random.rand(2)
                run.log(w=float(w[0]))
                if unit.key == die_in and die_in_loop and epoch == 1:
                    run._attempt.drain()
                    raise Dead
            run.log(luck=float(np.random.rand()))
            run.insert("drawn", [{"key": unit.key, "value": float(np.random.rand())}])
            if unit.key == die_in:
                raise Dead
            unit.result = {"w": w, "key": unit.key, "argument": str(unit.argument)}
            if unit.key == stop_in:
                break
        results = {key: str(value) for key, value in each.results.items()}
    except Dead:
        die(run)
        return None
    run.close()
    return results


@pytest.mark.parametrize("in_loop", [False, True])
def test_units_that_die_go_on_where_they_were(tmp_path: Path, in_loop: bool) -> None:
    expected = models(tmp_path / "straight", list("abcd"))
    for key in "bca":
        models(tmp_path / "run", list("abcd"), die_in=key, die_in_loop=in_loop)
    assert models(tmp_path / "run", list("abcd")) == expected
    assert digest(tmp_path / "run") == digest(tmp_path / "straight")


def test_awkward_keys_are_neither_lost_nor_mixed_up(tmp_path: Path) -> None:
    expected = models(tmp_path / "straight", AWKWARD)
    assert expected is not None and list(expected) == AWKWARD
    for key in ("a/b", "a/b/epoch", AWKWARD[-1]):
        assert models(tmp_path / "run", AWKWARD, die_in=key, die_in_loop=True) is None
    assert models(tmp_path / "run", AWKWARD) == expected
    assert digest(tmp_path / "run") == digest(tmp_path / "straight")
    assert not (tmp_path / "x").exists() and not (tmp_path.parent / "x").exists()
    reader = Reader(tmp_path / "run" / "run.db")
    assert reader.rows("SELECT count(*) FROM history")[0][0] == 3 * len(AWKWARD)
    assert {row[0] for row in reader.rows('SELECT "key" FROM drawn')} == set(AWKWARD)
    reader.close()


@pytest.mark.parametrize(
    "keys", [["a", "a"], [1, "1"], [1.5], [None], [True], ["x" * 1001], ["\0"], ["\ud800"], [("a",)]]
)
def test_keys_that_cannot_be_told_apart_or_stored_are_refused(place: Path, keys: Any) -> None:
    with pytest.raises(UsageError, match="key"), opened(place) as run:
        run.each("models", keys)


def test_a_break_ends_the_each_for_good(tmp_path: Path) -> None:
    expected = models(tmp_path / "run", list("abcd"), stop_in="b")
    assert expected is not None and list(expected) == ["a", "b"]
    before = digest(tmp_path / "run")
    assert models(tmp_path / "run", list("abcd"), stop_in="b") == expected
    assert digest(tmp_path / "run") == before
    with killed(tmp_path / "run", seed=4) as run:
        assert run._store.units.phase("models").state == "completed"  # type: ignore[union-attr]


def test_an_exception_counts_nothing_of_its_unit_and_gives_the_streams_back(place: Path) -> None:
    with opened(place, seed=1) as run:
        outer = np.random.get_state()[1].tobytes()
        try:
            for unit in run.each("units", "ab", version="1"):
                unit.result = float(np.random.rand())
                if unit.key == "b":
                    raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        run.step("after", len, "abc", version="1")
        assert np.random.get_state()[1].tobytes() == outer
        assert list(run._store.units.all("units")) == ["a"]


def test_keys_added_between_others_keep_every_row_and_result(tmp_path: Path) -> None:
    models(tmp_path / "run", ["a", "c"])
    results = models(tmp_path / "run", ["new", "a", "b", "c"])
    straight = models(tmp_path / "straight", ["new", "a", "b", "c"])
    assert results == straight
    reader = Reader(tmp_path / "run" / "run.db")
    rows = [row[0] for row in reader.rows('SELECT "key" FROM drawn ORDER BY _position, _row')]
    reader.close()
    assert rows == ["new", "a", "b", "c"]


def test_a_unit_gives_the_same_bits_whatever_its_place_and_neighbours(tmp_path: Path) -> None:
    one = models(tmp_path / "one", ["a", "b", "c"])
    other = models(tmp_path / "other", ["c", "x", "a", "b"])
    assert one is not None and other is not None
    assert all(one[key] == other[key] for key in one)


def test_another_argument_under_a_done_key_is_refused_and_a_new_key_is_not(place: Path) -> None:
    models(place, {"a": 1, "b": 2})
    assert models(place, {"a": 1, "b": 2, "c": 3})
    with pytest.raises(ChangedError, match="argument of 'b' changed"):
        models(place, {"a": 1, "b": 5, "c": 3})


def test_done_units_are_verified_once_and_not_at_every_step(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [str(n) for n in range(12)]
    for stop in (6, 12):
        run = opened(place)
        loaded = []
        real = type(run._session).reload
        monkeypatch.setattr(
            type(run._session), "reload", lambda s, p, u, r=real, x=loaded: (x.append(u.key), r(s, p, u))[1]
        )
        for number, unit in enumerate(run.each("units", keys, version="1")):
            unit.result = number
            if number == stop:
                break
        die(run)
        monkeypatch.undo()
    assert sorted(loaded) == sorted(keys[:6])


def test_a_damaged_result_is_computed_again(place: Path) -> None:
    def script() -> dict[str, Any]:
        with opened(place, seed=2) as run:
            each = run.each("units", "ab", version="1")
            for unit in each:
                unit.result = np.random.rand(4000)
            return {key: value.tobytes() for key, value in each.results.items()}  # type: ignore[attr-defined]

    expected = script()
    for blob in (place / "blobs").iterdir():
        blob.write_bytes(blob.read_bytes()[:-1])
    assert script() == expected
    assert script() == expected
