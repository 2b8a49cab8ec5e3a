"""The number parser agrees with Python, cell by cell, whatever the text."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.pipelines.exoplanet.reading.result import UnreadableError
from perdure.pipelines.exoplanet.reading.text import SKIP, header, read_table, text_role


@pytest.fixture(scope="module")
def parse(tmp_path_factory):
    path = tmp_path_factory.mktemp("cells") / "cells.csv"

    def parsed(cells):
        path.write_text("flux,last\n" + "".join(f"{cell},0\n" for cell in cells))
        return read_table(path, np.array([0, SKIP]), delimiter=",")

    return parsed


def expected(cell: str) -> np.float32:
    with np.errstate(over="ignore"):
        return np.float32(float(cell))


def assert_same(numbers: np.ndarray, cells: list[str]) -> None:
    wanted = np.array([expected(cell) for cell in cells])
    assert numbers[:, 0].tobytes() == wanted.tobytes(), [
        (cell, got, want) for cell, got, want in zip(cells, numbers[:, 0], wanted, strict=True) if got != want
    ]


decimal = st.from_regex(
    r"[+-]?([0-9]{1,25}\.?[0-9]{0,25}|\.[0-9]{1,25})([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
doubles = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(doubles.map(repr), doubles.map("{:.3e}".format), decimal), min_size=1, max_size=40))
def test_every_number_is_the_float32_of_what_python_reads(parse, cells):
    table = parse(cells)
    assert table.rejected == []
    assert_same(table.numbers, cells)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40), st.data()
)
def test_numbers_halfway_between_two_floats_round_as_python_rounds(parse, values, data):
    cells = []
    for value in values:
        with np.errstate(over="ignore"):
            above = np.nextafter(np.float32(value), np.float32(np.inf))
        halfway = (float(value) + float(above)) / 2 if np.isfinite(above) else float(value)
        nudge = data.draw(st.sampled_from([-1, 0, 1]))
        cells.append(repr(float(np.nextafter(halfway, nudge * math.inf)) if nudge else halfway))
    assert_same(parse(cells).numbers, cells)


@pytest.mark.parametrize(
    "cell",
    ["0", "-0.0", "00012.50", "1.", ".5", "1e-46", "1e-400", "1e400", "7.006e-46", "16777217", "+3", " 2.5 "],
)
def test_unusual_ways_to_write_a_number_are_read_as_python_reads_them(parse, cell):
    assert_same(parse([cell]).numbers, [cell])


@pytest.mark.parametrize("cell", ["", "NaN", "nan", "NA", "null", '""', " "])
def test_words_for_nothing_are_missing_measurements(parse, cell):
    table = parse([cell])
    assert table.rejected == [] and np.isnan(table.numbers[0, 0])


@pytest.mark.parametrize("cell", ["abc", "1.2.3", "1e", "--1", "1_000", "0x10", "1 2", "1e5x", "e5", "."])
def test_a_cell_that_is_no_number_rejects_its_row_and_names_line_and_cell(parse, cell):
    table = parse(["1.5", cell, "2.5"])
    assert table.numbers[:, 0].tolist() == [1.5, 2.5]
    ((line, reason),) = table.rejected
    assert line == 3 and repr(cell) in reason


def test_rows_of_other_lengths_are_rejected_and_the_rest_is_read(tmp_path):
    path = tmp_path / "ragged.csv"
    path.write_text("id,a,b\nx,1,2\ny,1\nz,1,2,3\nw,3,4")
    table = read_table(path, np.array([text_role(0), 0, 1]), delimiter=",")
    assert table.texts == [["x", "w"]]
    assert table.numbers.tolist() == [[1, 2], [3, 4]]
    assert table.line.tolist() == [2, 5]
    assert [line for line, _ in table.rejected] == [3, 4]
    assert "2 cells" in table.rejected[0][1] and "4 cells" in table.rejected[1][1]


def test_carriage_returns_a_byte_order_mark_and_blank_lines_change_nothing(tmp_path):
    plain, other = tmp_path / "plain.csv", tmp_path / "other.csv"
    plain.write_bytes(b"id,a\nx,1.5\ny,2.5\n")
    other.write_bytes(b"\xef\xbb\xbfid,a\r\nx,1.5\r\n\r\ny,2.5\r\n\r\n")
    assert header(plain) == header(other) == (["id", "a"], ",")
    tables = [read_table(path, np.array([text_role(0), 0]), delimiter=",") for path in (plain, other)]
    assert tables[0].numbers.tolist() == tables[1].numbers.tolist() == [[1.5], [2.5]]
    assert tables[0].texts == tables[1].texts


def test_more_odd_cells_than_fit_at_once_are_all_read(parse):
    cells = [f" {k}" for k in range(5000)]
    assert_same(parse(cells).numbers, cells)


def test_a_file_of_only_a_header_has_no_rows(parse):
    assert len(parse([]).line) == 0


@pytest.mark.parametrize("content", [b"\xff\xfe\x00binary", b"a,\x01b\n1,2\n"])
def test_a_first_line_that_is_no_text_is_refused(tmp_path, content):
    path = tmp_path / "noise.csv"
    path.write_bytes(content)
    with pytest.raises(UnreadableError, match=r"noise\.csv"):
        header(path)
