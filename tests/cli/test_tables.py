"""`history`, `export` and `sql`."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
import sys
from pathlib import Path

import pytest

from command_line import answer, perdure


def test_history_has_every_entry_of_every_loop(run: Path) -> None:
    document = answer("history", run)
    entries = document["loops"]["train"]
    assert [entry["position"] for entry in entries] == [0, 1, 2, 3]
    assert [entry["score"] for entry in entries] == [0.0, 1.0, 2.0, 3.0]
    shown = perdure("history", run, "--loop", "train").stdout.splitlines()
    assert shown[1].split() == ["position", "attempt", "score", "loss"] and len(shown) == 6


def test_an_unknown_loop_names_the_known_ones(run: Path) -> None:
    result = perdure("history", run, "--loop", "none")
    assert result.exit_code == 2 and "train" in result.stderr


def test_a_plot_is_a_picture(run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with sqlite3.connect(run / "run.db") as connection:
        connection.execute("UPDATE history SET attempt = 2 WHERE seq > 1")
    picture = tmp_path / "curves.svg"
    assert perdure("history", run, "--plot", picture).exit_code == 0
    text = picture.read_text()
    assert "<svg" in text and "stroke-dasharray" in text
    assert perdure("history", run, "--plot", tmp_path / "curves.odd").exit_code == 2
    assert perdure("history", run, "--plot", tmp_path / "none" / "curves.svg").exit_code == 2


def test_a_table_goes_to_csv_with_all_its_digits(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    assert answer("export", run, "samples", path)["rows"] == 6
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows[0]["name"] == "a" and rows[0]["raw"] == b"a".hex() and float(rows[4]["value"]) == 3.0


def test_a_table_goes_to_parquet(run: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "out.parquet"
    assert perdure("export", run, "samples", path).exit_code == 0
    table = parquet.read_table(path)
    assert table.num_rows == 6 and table.column("raw").to_pylist()[0] == b"a"


def test_a_table_goes_to_sqlite(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.sqlite"
    assert perdure("export", run, "notes", path).exit_code == 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*), max(text) FROM notes").fetchone() == (4, "epoch 3")


@pytest.mark.parametrize("name", ["history", "units", "phases", "attempts", "snapshots", "journal", "blobs"])
def test_the_run_s_own_records_can_be_exported_too(name: str, run: Path, tmp_path: Path) -> None:
    assert answer("export", run, name, tmp_path / "out.csv")["rows"] >= 1


def test_an_export_that_cannot_be_is_a_usage_error(run: Path, tmp_path: Path) -> None:
    assert "samples" in perdure("export", run, "none", tmp_path / "out.csv").stderr
    assert perdure("export", run, "samples", tmp_path / "out.xls").exit_code == 2
    assert perdure("export", run, "samples", tmp_path / "none" / "out.csv").exit_code == 2
    assert perdure("export", run, "meta", tmp_path / "out.csv").exit_code == 2


def test_sql_answers_as_a_table_or_as_json(run: Path) -> None:
    query = "select name, count(*) as n from samples group by 1 order by 1"
    assert perdure("sql", run, query).stdout.splitlines() == ["name  n", "a     2", "bb    2", "ccc   2"]
    assert answer("sql", run, query)[0] == {"name": "a", "n": 2}


@pytest.mark.parametrize(
    "query",
    [
        "selec 1",
        "select * from none",
        "delete from units",
        "select 1; select 2",
        "pragma query_only=0; drop table units",
    ],
)
def test_sql_mistakes_and_writes_end_with_2_and_sqlites_words(query: str, run: Path) -> None:
    document = answer("sql", run, query, code=2)
    assert document["error"].startswith("SQLite: ")


def test_sql_cannot_write_elsewhere_either(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    perdure("sql", run, f"attach '{other}' as other")
    perdure("sql", run, f"vacuum into '{tmp_path / 'copy.db'}'")
    assert list(tmp_path.glob("*.db")) == []
    assert answer("verify", run)["ok"] is True


def test_hostile_text_in_a_table_is_escaped(run: Path) -> None:
    assert "\x1b" not in perdure("sql", run, "select char(27) || '[2J' as x").stdout


def test_json_stays_json_with_odd_values(run: Path) -> None:
    result = perdure("sql", run, "select x'00ff' as raw, 1e999 as big, null as none, 'é' as text", "--json")
    assert json.loads(result.stdout)[0]["raw"] == "00ff"


@pytest.mark.skipif(sys.platform == "win32", reason="links and named pipes")
@pytest.mark.parametrize("words", [("export", "units"), ("report", "-o")])
def test_what_a_run_consists_of_is_never_written_over(
    words: tuple[str, str], run: Path, tmp_path: Path
) -> None:
    before = (run / "run.db").read_bytes()
    link = tmp_path / "link.db"
    link.symlink_to(run / "run.db")
    fifo = tmp_path / "pipe.db"
    os.mkfifo(fifo)
    for file in (run / "run.db", link, run / "snapshots" / "new.db", run, fifo):
        found = perdure(words[0], run, *words[1:], file)
        assert found.exit_code == 2, found.output
    assert (run / "run.db").read_bytes() == before and link.is_symlink()
    assert perdure(words[0], run, *words[1:], run / "exports" / "units.db").exit_code == 0
