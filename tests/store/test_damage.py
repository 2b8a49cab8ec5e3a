"""A damaged, cut or missing database: the backup stands in, or the run stops and names it; results never differ."""

from __future__ import annotations

import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from inprocess import killed, store_at, train
from perdure.errors import DamagedError, FormatError, NondeterminismError, PerdureError, StorageError
from perdure.reading import reading
from perdure.store import backup
from perdure.store.database import Reader, is_sound
from perdure.store.digest import digests


def digest(folder: Path) -> list[object]:
    reader = Reader(folder / "run.db")
    try:
        return [line.parts for line in digests(reader)]
    finally:
        reader.close()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], bytes]:
    folder = tmp_path_factory.mktemp("reference") / "run"
    weights = train(folder)
    return digest(folder), weights.tobytes()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    train(folder, stop_after=1)
    train(folder, stop_after=3)
    with store_at(folder) as store:
        store.back_up()
    return folder


@pytest.fixture
def run(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def overwrite(path: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


def wipe_page(number: int) -> Callable[[Path], None]:
    def change(content: bytearray) -> None:
        content[number * 4096 : (number + 1) * 4096] = b"\xa5" * 4096

    return lambda path: overwrite(path, change)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "emptied": lambda path: path.write_bytes(b""),
    "cut to a stump": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "cut to a page": lambda path: path.write_bytes(path.read_bytes()[:4096]),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 8192 * 4096]),
    "text": lambda path: path.write_text("this is no database\n" * 1000),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "page 1 wiped": wipe_page(0),
    "page 2 wiped": wipe_page(1),
    "page 5 wiped": wipe_page(4),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_the_backup_stands_in_for_a_damaged_database_and_the_bits_are_the_same(
    run: Path, expected: tuple[list[object], bytes], damage: Callable[[Path], object],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    damage(run / "run.db")
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected
    assert "run.db was damaged or missing and was replaced by run.db.backup" in capfd.readouterr().err


def test_the_damaged_database_is_kept_aside(run: Path) -> None:
    (run / "run.db").write_bytes(b"damaged" * 1000)
    train(run)
    assert (run / "run.db.damaged-1").read_bytes() == b"damaged" * 1000


def test_what_readers_leave_beside_a_damaged_database_is_not_kept(run: Path) -> None:
    (run / "run.db").write_bytes(b"damaged" * 1000)
    (run / "run.db-wal").write_bytes(b"")
    (run / "run.db-shm").write_bytes(bytes(32768))
    train(run)
    assert [path.name for path in run.glob("*.damaged-*")] == ["run.db.damaged-1"]


def test_a_log_of_the_lost_database_is_not_applied_to_the_backup(
    run: Path, expected: tuple[list[object], bytes]
) -> None:
    with store_at(run) as store:
        with store.transaction():
            store.set_meta("only in the log", 1)
        shutil.copy(run / "run.db-wal", run / "wal")
    (run / "run.db").unlink()
    (run / "wal").rename(run / "run.db-wal")
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected


def test_with_both_databases_damaged_the_run_stops_and_names_them(run: Path) -> None:
    for name in ("run.db", backup.NAME):
        wipe_page(0)(run / name)
    with pytest.raises(DamagedError, match=r"run\.db.* and .*run\.db\.backup are both unreadable"):
        train(run)


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda path: path.write_bytes(b"")], ids=["deleted", "emptied"]
)
def test_without_a_backup_a_lost_database_is_not_a_fresh_start(
    run: Path, damage: Callable[[Path], object]
) -> None:
    (run / backup.NAME).unlink()
    damage(run / "run.db")
    with pytest.raises(DamagedError, match=r"run\.db is missing or unreadable"):
        train(run)
    with pytest.raises(DamagedError, match=r"run\.db is missing or unreadable"), reading(run):
        pass  # what looks at a run must not take it for a new one, or for a whole one


@pytest.mark.parametrize("backups", [False, True])
def test_who_lost_the_database_and_its_backup_is_told_what_to_do_and_it_works(
    run: Path, expected: tuple[list[object], bytes], backups: bool
) -> None:
    (run / "run.db").unlink()
    (run / backup.NAME).write_bytes(b"rubbish")
    if backups:
        (run / "backups" / "20260101T000000Z-1").mkdir()
    with pytest.raises(DamagedError) as caught:
        train(run)
    assert ("perdure restore" in str(caught.value)) == backups
    told = re.search(r"move (.*) away to start over here", str(caught.value))
    assert told is not None
    for name in told[1].split(", "):
        (run / name).rename(run.with_name(f"lost-{name}"))
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected


def test_a_damaged_backup_beside_a_sound_database_harms_nothing(
    run: Path, expected: tuple[list[object], bytes]
) -> None:
    (run / backup.NAME).write_bytes(b"rubbish")
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected


def test_a_good_backup_is_not_replaced_by_a_copy_of_a_damaged_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store_at(tmp_path / "run") as store:
        store.back_up()
        before = (tmp_path / "run" / backup.NAME).read_bytes()

        def copy(path: Path) -> None:
            path.write_bytes(b"damaged" * 1000)

        monkeypatch.setattr(type(store.database), "copy_to", lambda self, path: copy(path))
        with pytest.raises(DamagedError, match="damaged while the run was going on"):
            store.back_up()
    assert (tmp_path / "run" / backup.NAME).read_bytes() == before
    assert not list((tmp_path / "run").glob(".*.tmp"))


def test_the_generations_that_the_backup_knows_are_asked_of_each_new_backup(tmp_path: Path) -> None:
    train(tmp_path / "run", epochs=2)
    assert backup.known_generations(tmp_path / "run") == {"epoch": 2}
    train(tmp_path / "run", epochs=3)
    assert backup.known_generations(tmp_path / "run") == {"epoch": 3}


def outcome(folder: Path) -> tuple[object, object]:
    """The digest that a run ends with, or how it stops."""
    try:
        weights = train(folder)
    except (DamagedError, FormatError, StorageError, NondeterminismError) as error:
        return type(error).__name__, str(error)
    except PerdureError as error:
        return type(error).__name__, str(error)
    return digest(folder), weights.tobytes()


def flips(folder: Path, tmp_path: Path, expected: object, *, count: int, seed: int) -> list[str]:
    """Flip a bit of the database at `count` places; returns what was wrong with the answers."""
    chance, wrong = random.Random(seed), []
    size = (folder / "run.db").stat().st_size
    for number in range(count):
        copy = Path(shutil.copytree(folder, tmp_path / f"flip-{number}"))
        place, bit = chance.randrange(size), 1 << chance.randrange(8)

        def change(content: bytearray, place: int = place, bit: int = bit) -> None:
            content[place] ^= bit

        overwrite(copy / "run.db", change)
        try:
            found = outcome(copy)
        except (sqlite3.Error, Exception) as error:
            found = ("raw", repr(error))
        if found != expected and (found[0] == "raw" or not isinstance(found[0], str)):
            wrong.append(f"bit {bit} of byte {place}: {str(found)[:300]}")
        shutil.rmtree(copy)
    return wrong


def test_a_flipped_bit_in_the_database_never_changes_results_silently(
    interrupted: Path, tmp_path: Path, expected: tuple[list[object], bytes]
) -> None:
    assert flips(interrupted, tmp_path, expected, count=60, seed=1) == []


@pytest.mark.crash
@pytest.mark.timeout(3000)
def test_flipped_bits_all_over_the_database_never_change_results_silently(
    interrupted: Path, tmp_path: Path, expected: tuple[list[object], bytes]
) -> None:
    assert flips(interrupted, tmp_path, expected, count=2000, seed=2) == []


def test_a_killed_writer_leaves_a_database_that_the_next_attempt_opens(tmp_path: Path) -> None:
    for _ in range(3):
        with killed(tmp_path / "run") as run:
            run.range("epoch", 3, state={}, version="1")
    with store_at(tmp_path / "run") as store:
        outcomes = [row[0] for row in store.database.rows("SELECT outcome FROM attempts ORDER BY id")]
    assert outcomes == ["killed", "killed", "killed", "running"]


def test_a_process_that_died_while_the_database_was_being_made_is_no_obstacle(tmp_path: Path) -> None:
    """Before it has a write-ahead log SQLite uses a journal; the next attempt has to undo it."""
    folder = tmp_path / "run"
    folder.mkdir()
    database = sqlite3.connect(folder / "run.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=persist")
    database.execute("CREATE TABLE half (x)")
    database.execute("PRAGMA user_version=1")
    database.execute("BEGIN")
    database.execute("PRAGMA cache_size=1")
    database.executemany("INSERT INTO half VALUES (?)", [(bytes(9000),)] * 20)
    for name in ("run.db", "run.db-journal"):
        shutil.copy(folder / name, tmp_path / name)
    database.close()
    for name in ("run.db", "run.db-journal"):
        shutil.copy(tmp_path / name, folder / name)
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        sqlite3.connect(f"file:{folder}/run.db?mode=ro", uri=True).execute("SELECT * FROM half")
    assert is_sound(folder / "run.db")
    assert sqlite3.connect(folder / "run.db").execute("SELECT count(*) FROM half").fetchall() == [(0,)]
