"""The user's tables: any order of units, the same table; what SQL cannot hold is refused."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from inprocess import store_at
from perdure.errors import StateError, UsageError
from perdure.store import Store
from perdure.store.tables import rows_of


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with store_at(tmp_path / "run") as opened:
        yield opened


def put(store: Store, key: str, position: int, rows: object, *, name: str = "t", data: bool = True) -> None:
    with store.transaction():
        store.tables.replace(
            name, rows_of(rows), phase="p", key=key, position=position, fingerprint="f", data=data
        )


def content(store: Store, name: str = "t") -> list[tuple[object, ...]]:
    return [tuple(row) for row in store.database.rows(f"SELECT * FROM {name} ORDER BY _position, _row")]


def test_numbers_text_bytes_dates_and_nothing_come_back(store: Store) -> None:
    row = {
        "i": 1,
        "f": 0.1,
        "t": "ä\0'",
        "b": b"\0",
        "n": None,
        "nan": math.nan,
        "inf": math.inf,
        "g": np.float32(0.5),
    }
    put(store, "a", 0, [row, dict.fromkeys(row)])
    assert content(store)[0][:8] == (1, 0.1, "ä\0'", b"\0", None, None, math.inf, 0.5)
    assert content(store)[1][:8] == (None,) * 8


UNITS = {"a": [{"x": 1, "y": None}], "b": [{"x": 0.5, "y": 2}], "c": [], "d": [{"x": None, "y": 1.5}]}


def test_the_table_is_the_same_whichever_unit_comes_first(tmp_path: Path) -> None:
    seen = set()
    for number, order in enumerate(itertools.permutations(UNITS)):
        with store_at(tmp_path / str(number)) as store:
            for key in order:
                put(store, key, "abcd".index(key), UNITS[key])
            digests = [
                tuple(row) for row in store.database.rows("SELECT key, digest FROM user_rows ORDER BY key")
            ]
            types = store.tables._columns("t")
            seen.add((repr(content(store)), repr(digests), repr(sorted(types.items()))))
            assert all(store.tables.are_whole("t", "p", key) for key in UNITS)
    assert len(seen) == 1


def test_whole_numbers_become_fractions_when_another_unit_has_some_and_the_digests_follow(
    store: Store,
) -> None:
    put(store, "a", 0, [{"x": 1}])
    put(store, "b", 1, [{"x": 0.5}])
    assert [(type(row[0]), row[0]) for row in content(store)] == [(float, 1.0), (float, 0.5)]
    assert set(store.tables.found("t", phase="p", fingerprint="f")) == {"a", "b"}


def test_a_first_unit_without_rows_waits_for_one_that_has_some(store: Store) -> None:
    put(store, "a", 0, [])
    put(store, "b", 1, [{"x": 1}])
    assert len(content(store)) == 1
    assert store.tables.are_whole("t", "p", "a")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"y": 1}], "columns"),
        ([{"x": 1, "y": 1}], "columns"),
        ([{"x": "text"}], "is INTEGER, and these rows have TEXT"),
    ],
)
def test_a_unit_with_other_columns_or_types_is_refused(store: Store, rows: object, message: str) -> None:
    put(store, "a", 0, [{"x": 1}])
    with pytest.raises(UsageError, match=message):
        put(store, "b", 1, rows)
    assert len(content(store)) == 1


@pytest.mark.parametrize(
    "rows",
    [
        [{"x": 1}, {"x": "a"}],
        [{"x": object()}],
        [{"x": 1 << 63}],
        [{"x": "\ud800"}],
        [{"_row": 1}],
        [{"_PHASE": 1}],
        [{"": 1}],
        [{"a\0b": 1}],
        [{"A": 1, "a": 2}],
        [{1: 1}],
        "text",
        {"x": 1},
        [1, 2],
        None,
    ],
)
def test_what_a_table_cannot_hold_is_refused_before_anything_is_written(rows: object) -> None:
    with pytest.raises(StateError):
        rows_of(rows)


@pytest.mark.parametrize(
    "name", ["", "1a", "a b", "x; drop table meta", "meta", "Journal", "sqlite_x", "_order_t", "x" * 64]
)
def test_a_name_that_is_ours_or_no_name_is_refused(store: Store, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a table"):
        put(store, "a", 0, [{"x": 1}], name=name)


def test_tables_that_differ_in_case_only_are_refused(store: Store) -> None:
    put(store, "a", 0, [{"x": 1}], name="Samples")
    with pytest.raises(UsageError, match="upper and lower case"):
        put(store, "a", 0, [{"x": 1}], name="samples")


def test_hostile_column_names_are_only_names(store: Store) -> None:
    put(store, "a", 0, [{'"); DROP TABLE meta; --': 1, "select": 2}])
    assert content(store)[0][:2] == (1, 2)
    assert store.meta("nothing") is None


def test_rows_of_a_unit_are_replaced_as_a_whole(store: Store) -> None:
    put(store, "a", 0, [{"x": n} for n in range(5)])
    put(store, "a", 0, [{"x": 9}])
    assert [row[0] for row in content(store)] == [9]


def test_one_changed_cell_is_noticed(store: Store) -> None:
    put(store, "a", 0, [{"x": 1.5}])
    put(store, "b", 1, [{"x": 2.5}])
    with store.transaction():
        store.database.execute("UPDATE t SET x = 2.25 WHERE _position = 1")
    assert set(store.tables.found("t", phase="p", fingerprint="f")) == {"a"}
    assert not store.tables.are_whole("t", "p", "b")


def test_units_move_to_other_positions_with_their_rows(store: Store) -> None:
    for position, key in enumerate("abc"):
        put(store, key, position, [{"x": key}])
    with store.transaction():
        store.tables.move("p", {"a": 2, "c": 0, "b": 1})
    assert [row[0] for row in content(store)] == ["c", "b", "a"]
    assert set(store.tables.found("t", phase="p", fingerprint="f")) == {"a", "b", "c"}


@pytest.mark.parametrize("library", ["polars", "pandas", "pyarrow"])
def test_tables_of_the_usual_libraries_are_rows(store: Store, library: str) -> None:
    module = pytest.importorskip(library)
    columns = {"x": [1, 2], "y": [0.5, None]}
    table = module.table(columns) if library == "pyarrow" else module.DataFrame(columns)
    put(store, "a", 0, table)
    assert [row[:2] for row in content(store)] == [(1, 0.5), (2, None)]


def test_a_reset_keeps_data_and_a_redo_does_not(store: Store) -> None:
    put(store, "a", 0, [{"x": 1}], name="kept", data=True)
    put(store, "a", 0, [{"x": 1}], name="dropped", data=False)
    with store.transaction():
        store.tables.forget("p", keep_data=True)
    assert len(content(store, "kept")) == 1 and content(store, "dropped") == []
    with store.transaction():
        store.tables.forget("p", keep_data=False)
    assert content(store, "kept") == []


def test_a_table_that_somebody_else_made_is_not_written_into(store: Store) -> None:
    with store.transaction():
        store.database.execute("CREATE TABLE Mine (a)")
    with pytest.raises(UsageError, match="'mine' that this run did not make; rename"):
        put(store, "a", 0, [{"a": 1}], name="mine")
    assert store.tables.names() == [] and store.database.rows("SELECT * FROM Mine") == []
