"""Any one file of a run's folder damaged, emptied, cut, deleted or swapped with an older copy: the run ends with the
bits of one that was never harmed, repaired or not."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import damaged
from command_line import answer, perdure
from perdure.clock import SystemClock
from perdure.errors import DamagedError, Stopped, StorageError
from perdure.examination import examine
from perdure.repair import repair
from perdure.store import rest
from perdure.store.database import Reader

ALL = tuple(damaged.DAMAGE)
# A sample for every day: each kind of file, and every kind of damage.
OFTEN = [
    ("stopped", "run.db", "emptied"),
    ("stopped", "run.db", "swapped"),
    ("stopped", "run.db-wal", "deleted"),
    ("stopped", "run.db-wal", "flipped"),
    ("stopped", "run.db.backup", "truncated"),
    ("stopped", "snapshots/epoch/*", "deleted"),
    ("stopped", "blobs/*", "swapped"),
    ("completed", "run.db", "swapped"),
    ("completed", "run.db", "deleted"),
    ("completed", "run.db", "flipped"),
    ("completed", "snapshots/models~b~round/*", "flipped"),
    ("completed", "snapshots/once/*", "truncated"),
    ("completed", "blobs/*", "emptied"),
    ("completed", "exports/*", "emptied"),
    ("completed", "lock", "flipped"),
    ("completed", "run.log", "deleted"),
]


@dataclass(frozen=True)
class Life:
    place: Path
    expected: dict[str, Any]


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Life:
    place = tmp_path_factory.mktemp("life")
    with pytest.MonkeyPatch.context() as patch:
        damaged.inline_units(patch)
        return Life(place, damaged.life(place))


@pytest.fixture(autouse=True)
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    damaged.inline_units(monkeypatch)


def harmed(life: Life, target: Path, moment: str, name: str, damage: str) -> Path:
    """A copy of the run at a moment, with one file harmed."""
    folder = Path(shutil.copytree(life.place / moment, target / "run"))
    damaged.DAMAGE[damage](folder / name, life.place / "old" / name)
    return folder


def is_whole(folder: Path) -> bool:
    reader = Reader(folder / "run.db")
    try:
        return not examine(folder, reader).findings
    finally:
        reader.close()


def wrong(life: Life, target: Path, moment: str, name: str, damage: str) -> list[str]:
    """What is wrong after one file was harmed, the run repaired, and its command run again."""
    folder = harmed(life, target, moment, name, damage)
    try:
        repaired = repair(folder, clock=SystemClock())
        found = [] if is_whole(folder) else [f"not whole after {repaired}"]
        if damaged.work(folder) != life.expected:
            found.append(f"other bits after {repaired}")
        if not is_whole(folder):
            found.append("not whole at the end")
    finally:
        shutil.rmtree(folder)
    return [f"{moment} {name} {damage}: {line}" for line in found]


@pytest.mark.parametrize(("moment", "pattern", "damage"), OFTEN)
def test_with_any_one_file_harmed_a_repaired_run_ends_with_the_same_bits(
    life: Life, tmp_path: Path, moment: str, pattern: str, damage: str
) -> None:
    name = str(max((life.place / moment).glob(pattern)).relative_to(life.place / moment))
    assert wrong(life, tmp_path, moment, name, damage) == []


@pytest.mark.crash
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("damage", ALL)
@pytest.mark.parametrize("moment", ["stopped", "completed"])
def test_with_each_file_harmed_a_repaired_run_ends_with_the_same_bits(
    life: Life, tmp_path: Path, moment: str, damage: str
) -> None:
    names = damaged.files_of(life.place / moment)
    assert {"blobs", "exports", "snapshots"} <= {name.partition("/")[0] for name in names}
    assert list(itertools.chain(*(wrong(life, tmp_path, moment, name, damage) for name in names))) == []


@pytest.mark.crash
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("damage", ALL)
@pytest.mark.parametrize("moment", ["stopped", "completed"])
def test_without_a_repair_the_same_bits_come_out_or_the_run_stops_and_says_why(
    life: Life, tmp_path: Path, moment: str, damage: str
) -> None:
    for name in damaged.files_of(life.place / moment):
        folder = harmed(life, tmp_path, moment, name, damage)
        try:
            assert damaged.work(folder) == life.expected, name
        except DamagedError as error:
            assert name.startswith("snapshots/once/"), name  # all that this loop had
            assert "'once'" in str(error)
        finally:
            shutil.rmtree(folder)


def act(life: Life, tmp_path: Path, moment: str, name: str, damage: str) -> tuple[str, str]:
    repaired = repair(harmed(life, tmp_path, moment, name, damage), clock=SystemClock())
    return "; ".join(repaired.done), "; ".join(repaired.lost)


def test_a_repair_says_what_it_did_and_what_is_lost(life: Life, tmp_path: Path) -> None:
    newest = "snapshots/epoch/00000003.safetensors"
    done, lost = act(life, tmp_path, "stopped", newest, "flipped")
    assert "generation 3 of 'epoch'" in done and "00000003.safetensors.damaged-1" in done
    assert lost == "epoch: 3 were done, 2 are left; the next start computes the others again"


def test_a_lost_database_costs_what_came_since_its_backup_and_says_when_that_was(
    life: Life, tmp_path: Path
) -> None:
    done, lost = act(life, tmp_path, "stopped", "run.db", "deleted")
    assert "replaced by run.db.backup" in done
    assert lost.startswith("what was saved after 20")


def test_a_database_that_is_older_than_its_backup_is_replaced_by_it_and_nothing_is_lost(
    life: Life, tmp_path: Path
) -> None:
    done, lost = act(life, tmp_path, "completed", "run.db", "swapped")
    assert "was older than its own backup" in done and lost == ""


def test_a_loop_whose_only_snapshot_is_damaged_begins_anew_when_it_is_repaired(
    life: Life, tmp_path: Path
) -> None:
    only = "snapshots/once/00000001.safetensors"
    done, lost = act(life, tmp_path, "completed", only, "truncated")
    assert "once: no snapshot is left; it begins anew" in done
    assert lost == "once: 1 were done, 0 are left; the next start computes the others again"


def test_a_loop_that_lost_every_snapshot_begins_anew_when_it_is_repaired(life: Life, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(life.place / "stopped", tmp_path / "run"))
    for path in (folder / "snapshots" / "epoch").iterdir():
        path.write_bytes(b"damaged")
    with pytest.raises(DamagedError, match=r"verify --repair"):
        damaged.work(folder)
    assert repair(folder, clock=SystemClock()).lost == (
        "epoch: 3 were done, 0 are left; the next start computes the others again",
    )
    assert is_whole(folder) and damaged.work(folder) == life.expected


def test_a_unit_whose_loop_lost_its_end_is_computed_again_without_a_repair_too(
    life: Life, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    inside = "snapshots/models~a~round/00000002.safetensors"
    assert damaged.work(harmed(life, tmp_path, "completed", inside, "deleted")) == life.expected
    assert "models/a/round lost its end" in capfd.readouterr().err


def change(life: Life, tmp_path: Path, sql: str) -> Path:
    import sqlite3

    folder = Path(shutil.copytree(life.place / "completed", tmp_path / "run"))
    with sqlite3.connect(folder / "run.db") as connection:
        connection.execute(sql)
    connection.close()
    return folder


CONTRADICTIONS: dict[str, str] = {
    "a changed history": "UPDATE history SET entry = '{\"mean\": 7.0}' WHERE loop = 'epoch' AND seq = 2",
    "a lost history": "DELETE FROM history WHERE loop = 'epoch' AND seq = 2",
    "lost rows of a loop": "DELETE FROM seen WHERE _row = 1",
}


@pytest.mark.parametrize("sql", CONTRADICTIONS.values(), ids=CONTRADICTIONS.keys())
def test_a_database_that_contradicts_its_snapshots_is_replaced_by_its_backup(
    life: Life, tmp_path: Path, sql: str
) -> None:
    folder = change(life, tmp_path, sql)
    assert not is_whole(folder)
    assert "contradicts itself" in "; ".join(repair(folder, clock=SystemClock()).done)
    assert is_whole(folder) and damaged.work(folder) == life.expected


RECORDS: dict[str, str] = {
    "a fingerprint with another value": "UPDATE phases SET fingerprint = replace(fingerprint, '\"1\"', '\"3\"')",
    "a fingerprint that is no JSON": "UPDATE phases SET fingerprint = replace(fingerprint, '{', 'z')",
    "settings with another seed": "UPDATE meta SET value = replace(value, '3', '7') WHERE key = 'settings'",
    "digests that are no JSON": "UPDATE snapshots SET parts = 'z' || parts",
    "a phase of another name": "UPDATE phases SET path = 'models/a/qound' WHERE path = 'models/a/round'",
    "a phase of no kind": "UPDATE phases SET kind = 'steP' WHERE kind = 'step'",
    "a phase in no state": "UPDATE phases SET state = 'comrleted'",
    "a unit in no state": "UPDATE units SET state = 'dond' WHERE key = 'a'",
    "a column that is not there": "UPDATE user_tables SET columns = replace(columns, 'mean', 'mdan')",
    "a name that is no text": "UPDATE snapshots SET sha256 = CAST(x'ff' AS TEXT)",
}


@pytest.mark.parametrize("sql", RECORDS.values(), ids=RECORDS.keys())
def test_a_record_that_cannot_be_right_is_told_and_taken_from_the_backup(
    life: Life, tmp_path: Path, sql: str
) -> None:
    folder = change(life, tmp_path, sql)
    assert perdure("verify", folder).exit_code == 1
    assert "replaced by run.db.backup" in "; ".join(repair(folder, clock=SystemClock()).done)
    assert is_whole(folder) and damaged.work(folder) == life.expected


ALTERED: dict[str, str] = {
    "a row of a finished unit": "UPDATE fits SET mean = mean + 1 WHERE key = 'b'",
    "a row of a data table": "UPDATE samples SET value = value + 1 WHERE name = 'b'",
    "the log of a loop in a finished unit": "UPDATE history SET entry = replace(entry, '0.', '1.') "
    "WHERE loop = 'models/b/round'",
}


@pytest.mark.parametrize("sql", ALTERED.values(), ids=ALTERED.keys())
def test_what_was_altered_while_nobody_had_the_run_open_is_mended_at_the_next_start(
    life: Life, tmp_path: Path, sql: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = change(life, tmp_path, sql)
    assert damaged.digest(folder) != life.expected
    assert damaged.work(folder) == life.expected and is_whole(folder)
    said = capfd.readouterr().err
    assert "perdure: warning: " in said and "next start" not in said  # it is this one


@pytest.mark.parametrize(
    ("sql", "moment"),
    [(ALTERED["a row of a finished unit"], "examine"), (CONTRADICTIONS["a lost history"], "_take_backup")],
)
def test_a_start_that_was_cut_off_while_it_mended_is_followed_by_one_that_compares_everything_again(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str, moment: str
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    folder = change(life, tmp_path, sql)
    with monkeypatch.context() as patch:
        patch.setattr(f"perdure.repair.{moment}", cut_off)
        with pytest.raises((KeyboardInterrupt, Stopped)):
            damaged.work(folder)
    assert damaged.work(folder) == life.expected and is_whole(folder)


def test_a_start_on_a_full_disk_that_finds_an_altered_database_leaves_it_as_it_is(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = change(life, tmp_path, ALTERED["a row of a finished unit"])
    before = damaged.files_of(folder)
    with monkeypatch.context() as patch:
        patch.setattr("perdure.files.free_bytes", lambda _: 1000)
        with pytest.raises(StorageError, match="MB free and a repair needs"):
            damaged.work(folder)
    assert damaged.files_of(folder) == before  # a log of SQLite's would keep readers out of a full disk
    assert damaged.work(folder) == life.expected


def test_a_digest_that_another_process_takes_away_just_now_is_no_error(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = change(life, tmp_path, ALTERED["a row of a finished unit"])
    place = folder / "run.db.sha256"
    monkeypatch.setattr(rest, "_has_log", lambda _: place.unlink())
    assert not rest.was_altered(folder / "run.db")


def test_an_edit_that_contradicts_nothing_is_left_as_it_is(life: Life, tmp_path: Path) -> None:
    folder = change(life, tmp_path, "DELETE FROM units WHERE phase = 'samples' AND key = 'b'")
    assert damaged.work(folder) == life.expected
    assert not list(folder.glob("run.db.damaged-*"))


def test_only_a_run_that_was_left_in_order_has_the_digest_of_its_database(life: Life, tmp_path: Path) -> None:
    assert not (life.place / "stopped" / "run.db.sha256").exists()  # as a kill leaves it
    noted = (life.place / "completed" / "run.db.sha256").read_text()
    assert noted == hashlib.sha256((life.place / "completed" / "run.db").read_bytes()).hexdigest()


def test_what_a_reader_stumbles_over_in_a_damaged_database_is_told_as_damage(
    life: Life, tmp_path: Path
) -> None:
    folder = change(life, tmp_path, "UPDATE user_tables SET columns = '[3]'")
    assert "run.db is damaged" in answer("digest", folder, code=1)["error"]
    assert perdure("doctor", folder, "--json").exit_code in {0, 1}


def test_clean_refuses_a_run_that_is_not_whole_and_leaves_what_can_mend_it(
    life: Life, tmp_path: Path
) -> None:
    folder = change(life, tmp_path, CONTRADICTIONS["a lost history"])
    before = (folder / "run.db.backup").read_bytes()
    assert "verify --repair" in answer("clean", folder, code=1)["error"]
    assert (folder / "run.db.backup").read_bytes() == before


def flipped(life: Life, folder: Path, moment: str, *, count: int, seed: int) -> Iterator[str]:
    """What is wrong after one bit of the database was flipped: a reader's traceback, or other bits after a repair."""
    import random

    chance = random.Random(seed)
    content = (life.place / moment / "run.db").read_bytes()
    places = [place for place, byte in enumerate(content) if byte]
    for _ in range(count):
        place, bit = chance.choice(places), chance.randrange(8)
        shutil.copytree(life.place / moment, folder)
        harmed = bytearray(content)
        harmed[place] ^= 1 << bit
        (folder / "run.db").write_bytes(harmed)
        for words in READERS:
            ended = perdure(words[0], folder, *words[1:])
            if ended.exception is not None and not isinstance(ended.exception, SystemExit):
                yield f"bit {bit} of byte {place}: {words[0]}: {ended.exception!r}"
        repair(folder, clock=SystemClock())
        if damaged.work(folder) != life.expected:
            yield f"bit {bit} of byte {place}: other bits"
        shutil.rmtree(folder)


READERS = (
    ["status"],
    ["verify"],
    ["digest"],
    ["why"],
    ["history"],
    ["logs"],
    ["sql", "SELECT * FROM journal"],
)


def test_a_flipped_bit_of_the_database_is_mended_and_no_reader_breaks(life: Life, tmp_path: Path) -> None:
    assert list(flipped(life, tmp_path / "run", "completed", count=25, seed=3)) == []


@pytest.mark.crash
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("moment", ["stopped", "completed"])
def test_flipped_bits_all_over_the_database_are_mended_and_no_reader_breaks(
    life: Life, tmp_path: Path, moment: str
) -> None:
    assert list(flipped(life, tmp_path / "run", moment, count=1500, seed=4)) == []


def test_a_backup_that_contradicts_itself_too_is_left_alone_and_the_damage_is_still_told(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = change(life, tmp_path, CONTRADICTIONS["a lost history"])
    shutil.copy(folder / "run.db", folder / "run.db.backup")
    assert repair(folder, clock=SystemClock()).done == ()
    assert not is_whole(folder)
