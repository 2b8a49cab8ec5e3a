"""The database: durable settings, whole transactions, readers beside the writer, and damage told from trouble."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from inprocess import FakeClock, store_at
from perdure.errors import DamagedError, FormatError, StorageError, UsageError
from perdure.store import rest, schema
from perdure.store.database import Database, Reader, is_sound


def test_the_settings_that_make_commits_durable_are_read_back(tmp_path: Path) -> None:
    database = Database(tmp_path / "run.db")
    found = {name: database.rows(f"PRAGMA {name}")[0][0] for name in ("journal_mode", "synchronous")}
    assert found == {"journal_mode": "wal", "synchronous": 2}
    database.close()


def test_a_file_system_that_refuses_a_durable_setting_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perdure.store.database._REQUIRED", {"synchronous": 7})
    with pytest.raises(StorageError, match=r"synchronous=\d where 7 is needed"):
        Database(tmp_path / "run.db")


def test_an_inner_transaction_that_fails_undoes_the_outer_one_too(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store:
        with pytest.raises(ZeroDivisionError), store.transaction():
            store.set_meta("outer", 1)
            with store.transaction():
                store.set_meta("inner", 2)
                raise ZeroDivisionError
        assert store.meta("outer") is None and store.meta("inner") is None
        with store.transaction():
            store.set_meta("outer", 3)
        assert store.meta("outer") == 3


def test_a_transaction_that_is_interrupted_at_its_very_beginning_leaves_none_open(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store:
        transaction = store.database.transaction()
        transaction.__enter__()
        assert transaction.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None) is not True
        with store.transaction():
            store.set_meta("a", 1)


def test_a_write_outside_a_transaction_is_a_mistake(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store, pytest.raises(AssertionError):
        store.set_meta("a", 1)


def test_a_reader_sees_the_last_commit_while_another_is_being_made(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store:
        with store.transaction():
            store.set_meta("a", 1)
        reader = Reader(tmp_path / "run" / "run.db")
        with store.transaction():
            store.set_meta("a", 2)
            assert reader.rows("SELECT value FROM meta WHERE key = 'a'")[0][0] == "1"
        assert reader.rows("SELECT value FROM meta WHERE key = 'a'")[0][0] == "2"
        with pytest.raises((StorageError, sqlite3.Error)):
            reader.rows("DELETE FROM meta")
        reader.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_run_that_is_left_while_somebody_looks_on_is_left_in_order(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store:
        looking = Reader(store.database.path)
        assert looking.rows("SELECT count(*) FROM attempts")[0][0] == 1
    assert (tmp_path / "run" / "run.db.sha256").exists()
    looking.close()
    assert not rest.was_altered(tmp_path / "run" / "run.db")
    with sqlite3.connect(tmp_path / "run" / "run.db") as connection:
        connection.execute("UPDATE attempts SET pid = pid + 1")
    connection.close()
    assert rest.was_altered(tmp_path / "run" / "run.db")


def test_a_fork_may_not_write(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store:
        child = os.fork()
        if child == 0:
            try:
                with store.transaction():
                    os._exit(1)
            except UsageError:
                os._exit(7)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_journal_can_be_added_to_and_nothing_else(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store:
        for change in ("UPDATE journal SET event = 'x'", "DELETE FROM journal"):
            with pytest.raises(sqlite3.Error, match="append-only"), store.transaction():
                store.database.execute(change)
        assert store.database.row("SELECT count(*) FROM journal")[0] == 1  # type: ignore[index]


def test_the_journal_is_in_order_when_the_clock_goes_back(tmp_path: Path) -> None:
    clock = FakeClock()
    with store_at(tmp_path / "run", clock=clock) as store:
        clock.wall -= 1e6
        with store.transaction():
            store.journal.add("later")
        events = [row["event"] for row in store.database.rows("SELECT event FROM journal ORDER BY seq")]
    assert events == ["attempt begun", "later"]


def test_a_newer_format_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store, store.transaction():
        store.database.execute(f"PRAGMA user_version={schema.FORMAT + 1}")
    before = (tmp_path / "run" / "run.db").read_bytes()
    with (
        pytest.raises(FormatError, match=f"run format {schema.FORMAT + 1}.*nothing was touched"),
        store_at(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "run" / "run.db").read_bytes() == before


def test_the_database_is_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with store_at(tmp_path / "run") as store, store.transaction():
            store.set_meta("a", 1)
            modes = {
                p.name: stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "run").iterdir() if p.is_file()
            }
    finally:
        os.umask(before)
    assert set(modes.values()) == {0o600} and "run.db-wal" in modes


def test_what_keeps_a_sound_database_from_being_read_is_not_taken_for_damage(tmp_path: Path) -> None:
    with store_at(tmp_path / "run"):
        pass
    path = tmp_path / "run" / "run.db"
    assert is_sound(path)
    shutil.move(path, tmp_path / "aside")
    path.mkdir()
    with pytest.raises(StorageError, match=r"run\.db"):
        is_sound(path)


@pytest.mark.parametrize("damage", [b"", b"not a database at all" * 100, bytes(8192)])
def test_rubbish_is_not_sound(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "run.db").write_bytes(b"x" + damage)
    assert not is_sound(tmp_path / "run.db")


def test_a_database_whose_last_byte_is_missing_is_not_sound(tmp_path: Path) -> None:
    with store_at(tmp_path / "run"):
        pass
    path = tmp_path / "run" / "run.db"
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert not is_sound(path)
    path.write_bytes(content)
    assert is_sound(path)


def test_a_database_whose_last_page_is_in_its_log_is_sound(tmp_path: Path) -> None:
    """A power cut in a checkpoint may leave half a page; the log has it whole."""
    with store_at(tmp_path / "run") as store:
        for suffix in ("", "-wal"):
            shutil.copy(tmp_path / "run" / f"run.db{suffix}", tmp_path / f"run.db{suffix}")
        with store.transaction():
            store.set_meta("a", "b")
    with (tmp_path / "run.db").open("ab") as file:
        file.write(b"half a page")
    assert (tmp_path / "run.db-wal").stat().st_size
    assert is_sound(tmp_path / "run.db")


def test_a_format_number_that_was_wiped_is_damage_and_no_new_run(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store, store.transaction():
        store.database.execute("PRAGMA user_version=0")
    assert not is_sound(tmp_path / "run" / "run.db")


def test_a_record_that_is_no_json_names_the_database(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store:
        with store.transaction():
            store.database.execute("INSERT INTO meta VALUES ('a', '{broken')")
        with pytest.raises(DamagedError, match=r"run\.db"):
            store.meta("a")


def test_secrets_of_a_command_line_are_not_recorded(tmp_path: Path) -> None:
    from perdure.clock import SystemClock
    from perdure.store import Store

    command = ["perdure run x.py --set lr=1 --set api_token=canary1 --password canary2"]
    store = Store.open(tmp_path / "run", clock=SystemClock(), command=command)
    store.back_up()
    store.close()
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or b"canary" not in path.read_bytes()
