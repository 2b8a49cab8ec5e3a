"""Parallel units: each commits alone, a bad one is set aside, and the order of work never shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mapped
import perdure
from inprocess import killed
from perdure.errors import UsageError
from perdure.store.database import Reader
from perdure.store.digest import digests


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run"


def opened(place: Path, **options: Any) -> perdure.Run:
    return perdure.open(place, **({"budget": None} | options))


def digest(place: Path) -> list[Any]:
    reader = Reader(place / "run.db")
    try:
        return [(line.path, line.parts) for line in digests(reader)]
    finally:
        reader.close()


def table(place: Path, sql: str) -> list[tuple[object, ...]]:
    reader = Reader(place / "run.db")
    try:
        return [tuple(row) for row in reader.rows(sql)]
    finally:
        reader.close()


def test_results_do_not_depend_on_workers_or_order(tmp_path: Path) -> None:
    found = []
    for number, (workers, order) in enumerate([(1, "abcde"), (3, "abcde"), (2, "ecabd")]):
        with opened(tmp_path / str(number), seed=8) as run:
            results = run.map("draw", list(order), mapped.draw, workers=workers)
            found.append({key: results[key]["drawn"].tobytes() for key in "abcde"})
    assert found[0] == found[1] == found[2]
    assert digest(tmp_path / "0") == digest(tmp_path / "1")


def test_a_bad_unit_is_set_aside_and_the_others_go_on(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    keys = ["one", "raise", "segfault", "hang", "exit", "two"]
    with opened(place) as run:
        results = run.map("trouble", keys, mapped.trouble, workers=2, retries=1, timeout="2s")
        assert dict(results) == {"one": "ONE", "two": "TWO"}
        assert run.exit_code == 3
    assert "ZeroDivisionError: no such number" in results.failed["raise"]
    assert "SIGSEGV" in results.failed["segfault"]
    assert "timed out after 2 s" in results.failed["hang"]
    assert "exit code 5" in results.failed["exit"]
    assert set(table(place, "SELECT key, tries FROM units WHERE state = 'failed'")) == {
        ("raise", 2), ("segfault", 2), ("hang", 2), ("exit", 2)}  # fmt: skip
    assert table(place, "SELECT exit_code FROM attempts") == [(3,)]
    capfd.readouterr()
    with opened(place) as run:
        run.map("trouble", keys, mapped.trouble, workers=2, retries=1, timeout="2s")
        assert run.exit_code == 3
    assert "4 failed before and are skipped" in capfd.readouterr().err


def test_an_empty_key_is_refused_before_anything_is_computed(place: Path) -> None:
    with opened(place) as run, pytest.raises(UsageError, match="a unit's key is empty"):
        run.map("named", {"a": 1, "": 2}, mapped.trouble)
    assert table(place, "SELECT * FROM units") == []


def test_a_retry_that_succeeds_has_what_came_after_computed_again_also_after_a_death(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    obstacle, place = tmp_path / "obstacle", tmp_path / "run"
    obstacle.touch()

    def counted(run: perdure.Run) -> int:
        results = run.map("tried", [str(obstacle)], mapped.while_file, workers=1, retries=0)
        return run.step("count", len, list(results), version="1")  # type: ignore[no-any-return]

    with opened(place) as run:
        assert counted(run) == 0
    obstacle.unlink()
    with opened(place) as run:
        assert counted(run) == 0
    monkeypatch.setenv("PERDURE_RETRY_FAILED", "1")
    with killed(place) as run, monkeypatch.context() as patched:
        patched.setattr(
            "perdure.phase.Session.complete", lambda *a, **k: (_ for _ in ()).throw(perdure.PerdureError())
        )
        counted(run)
    monkeypatch.delenv("PERDURE_RETRY_FAILED")
    with opened(place) as run:
        assert counted(run) == 1
        assert run.exit_code == 0


def test_rows_and_done_are_one_and_rows_stand_in_the_order_of_the_keys(place: Path) -> None:
    keys = list("edcba")
    with opened(place, seed=1) as run:
        run.map("rows", keys, mapped.rows, workers=3, into="samples", data=True)
    found = table(place, "SELECT key, n FROM samples ORDER BY _position, _row")
    assert found == [(key, n) for key in keys for n in range(ord(key) % 3)]


def test_units_of_a_data_table_are_found_by_their_digest_when_their_progress_is_lost(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def script() -> int:
        with opened(place, seed=1) as run:
            return len(run.map("rows", list("abcd"), mapped.rows, workers=2, into="samples", data=True))

    script()
    before = digest(place)
    with killed(place, seed=1) as run, run._store.transaction():
        run._store.database.execute("DELETE FROM units")
        run._store.database.execute("DELETE FROM phases")
        run._store.database.execute("UPDATE samples SET value = 9 WHERE key = 'b' AND n = 0")
    assert script() == 4
    assert digest(place) == before
    found = table(
        place, "SELECT subject, json_extract(detail, '$.key') FROM journal WHERE event = 'unit found'"
    )
    assert {key for _, key in found} == {"a", "c", "d"}


def test_a_changed_cell_in_a_table_is_computed_again_and_told(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def script() -> None:
        with opened(place, seed=1) as run:
            run.map("rows", list("abcd"), mapped.rows, workers=1, into="samples")

    script()
    before = digest(place)
    with killed(place, seed=1) as run, run._store.transaction():
        run._store.database.execute("UPDATE samples SET value = 9 WHERE key = 'b' AND n = 0")
    capfd.readouterr()
    script()
    assert digest(place) == before
    assert "the rows of rows 'b' in table 'samples' do not match their digest" in capfd.readouterr().err


def test_keys_added_in_the_middle_keep_the_rows_of_those_that_are_done(place: Path) -> None:
    for keys in ("bd", "abcde"):
        with opened(place, seed=1) as run:
            run.map("rows", list(keys), mapped.rows, workers=1, into="samples")
    with opened(place.with_name("straight"), seed=1) as run:
        run.map("rows", list("abcde"), mapped.rows, workers=1, into="samples")
    assert digest(place) == digest(place.with_name("straight"))


def test_a_function_that_no_worker_could_import_is_refused(place: Path) -> None:
    with pytest.raises(perdure.UsageError), opened(place) as run:
        run.map("bad", ["a"], lambda key: key, version="1")


def test_no_keys_are_no_work(place: Path) -> None:
    with opened(place) as run:
        assert dict(run.map("none", [], mapped.draw)) == {}
        assert run.exit_code == 0
