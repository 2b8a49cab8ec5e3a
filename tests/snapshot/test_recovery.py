"""Which generation counts: damaged ones fall back, unfinished ones are finished, foreign ones are not believed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import perdure
from inprocess import Dead, Tracked, killed, store_at, train
from perdure import files
from perdure.clock import SystemClock
from perdure.errors import DamagedError, NondeterminismError
from perdure.examination import examine
from perdure.repair import repair
from perdure.snapshot import recovery
from perdure.store.check import Finding
from perdure.store.database import Reader
from perdure.store.digest import digests


def digest(folder: Path) -> list[object]:
    reader = Reader(folder / "run.db")
    try:
        return [line.parts for line in digests(reader)]
    finally:
        reader.close()


def generations(folder: Path) -> list[Path]:
    return sorted(folder.glob("snapshots/*/*.safetensors"))


def states(folder: Path) -> dict[int, str]:
    reader = Reader(folder / "run.db")
    try:
        return {row[0]: row[1] for row in reader.rows("SELECT generation, state FROM snapshots")}
    finally:
        reader.close()


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], bytes]:
    folder = tmp_path_factory.mktemp("reference") / "run"
    weights = train(folder)
    return digest(folder), weights.tobytes()


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that died in its fourth epoch, with two generations on disk."""
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    train(folder, stop_after=3)
    assert len(generations(folder)) == 2
    return folder


@pytest.fixture
def run(interrupted: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(interrupted, tmp_path / "run"))


def flip(position: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[min(int(position * len(content)), len(content) - 1)] ^= 0x10
        path.write_bytes(content)

    return damage


def truncate(share: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


DAMAGE = {
    **{f"flip at {n}/16": flip(n / 16) for n in range(17)},
    **{f"cut to {n}/4": truncate(n / 4) for n in range(4)},
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_newest_generation_costs_one_generation_and_no_bits(
    run: Path, expected: tuple[list[object], bytes], damage: Callable[[Path], None],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    newest = generations(run)[-1]
    damage(newest)
    remains = newest.read_bytes() if newest.exists() else None
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected
    said = capfd.readouterr().err
    assert "generation 3 of 'epoch' does not match its digest" in said and "generation 2" in said
    if remains is not None:
        assert newest.with_name(newest.name + ".damaged-1").read_bytes() == remains


def test_when_every_generation_is_damaged_the_run_stops_instead_of_starting_over(run: Path) -> None:
    for path in generations(run):
        flip(0.9)(path)
    for _ in range(2):
        with pytest.raises(DamagedError, match="every kept snapshot of 'epoch'"):
            train(run)
    assert len(list(run.glob("snapshots/*/*.damaged-1"))) == 2


def test_after_total_damage_a_redo_computes_the_loop_again(
    run: Path, expected: tuple[list[object], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in generations(run):
        path.unlink()
    monkeypatch.setenv("PERDURE_REDO", '["epoch"]')
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected


@pytest.mark.parametrize("column", ["position", "stream", "batch", "logged", "inserted", "final"])
def test_a_row_that_contradicts_its_file_is_restored_from_it(
    run: Path, expected: tuple[list[object], bytes], column: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with store_at(run) as store, store.transaction():
        store.database.execute(f"UPDATE snapshots SET {column} = 1 - {column} WHERE generation = 3")
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected
    said = capfd.readouterr().err
    assert "row of generation 3 of 'epoch' was damaged" in said and "resuming at iteration 4" in said


def test_a_damaged_digest_of_a_part_is_restored_from_the_file(
    run: Path, expected: tuple[list[object], bytes]
) -> None:
    with store_at(run) as store, store.transaction():
        store.database.execute("UPDATE snapshots SET parts = replace(parts, 'a', 'b') WHERE generation = 3")
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected


def test_a_changed_history_is_noticed(run: Path) -> None:
    with store_at(run) as store, store.transaction():
        store.database.execute("UPDATE history SET entry = replace(entry, '0', '1') WHERE seq = 0")
    with pytest.raises(DamagedError, match="history of 'epoch'"):
        train(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE seen SET text = 'e9' WHERE _row = 1", "in table 'seen' are not what they were"),
        ("DELETE FROM seen WHERE _row = 0", "are 2 and were 3"),
    ],
)
def test_a_changed_row_that_the_loop_added_is_noticed_and_mended_from_the_backup(
    run: Path, expected: tuple[list[object], bytes], change: str, said: str
) -> None:
    with store_at(run) as store:
        store.back_up()
        with store.transaction():
            store.database.execute(change)
    with pytest.raises(DamagedError, match=said):
        train(run)
    assert next((found.kind, found.subject) for found in findings(run)) == ("rows", "epoch")
    repair(run, clock=SystemClock())
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected


def unrecord(folder: Path, *numbers: int) -> None:
    """Bring the database back to the moment before these generations were committed."""
    with store_at(folder) as store, store.transaction():
        for number in numbers:
            store.database.execute("DELETE FROM snapshots WHERE generation = ?", (number,))
        store.database.execute("UPDATE snapshots SET state = 'kept' WHERE generation < ?", (min(numbers),))
        store.generations.rewind("epoch", logged=min(numbers) - 1)
        store.tables.rewind("epoch", inserted=min(numbers) - 1)


def unseal(folder: Path) -> None:
    """As after a death in the moment between a snapshot's commit and the record of its file's SHA-256."""
    with store_at(folder) as store, store.transaction():
        store.database.execute("UPDATE snapshots SET sha256 = '' WHERE state = 'kept'")


def sealed(folder: Path) -> list[bool]:
    """For each kept generation, whether its row has the SHA-256 of its file."""
    reader = Reader(folder / "run.db")
    try:
        rows = reader.rows("SELECT sha256 FROM snapshots WHERE state = 'kept' ORDER BY generation")
        return [row[0] == files.digest(path) for row, path in zip(rows, generations(folder), strict=True)]
    finally:
        reader.close()


def test_every_generation_that_stays_has_the_digest_of_its_file(interrupted: Path) -> None:
    assert sealed(interrupted) == [True, True]


def test_a_generation_without_the_digest_of_its_file_counts_and_gets_it(
    run: Path, expected: tuple[list[object], bytes]
) -> None:
    unseal(run)
    with store_at(run) as store:
        recovery.recover(store)
    assert sealed(run) == [False, True]  # the older one is no longer the one that matters
    assert train(run).tobytes() == expected[1]
    assert digest(run) == expected[0]


@pytest.mark.parametrize("damage", [flip(0.3), flip(0.9), flip(0.999), truncate(0.5)])
def test_damage_to_a_generation_without_the_digest_of_its_file_is_noticed(
    run: Path, expected: tuple[list[object], bytes], damage: Callable[[Path], None]
) -> None:
    unseal(run)
    damage(generations(run)[-1])
    assert [finding.kind for finding in findings(run)] == ["snapshot"]
    assert train(run).tobytes() == expected[1]
    assert digest(run) == expected[0]
    assert "damaged" in states(run).values()


def findings(folder: Path) -> tuple[Finding, ...]:
    reader = Reader(folder / "run.db")
    try:
        return examine(folder, reader).findings
    finally:
        reader.close()


def journal(folder: Path) -> list[str]:
    reader = Reader(folder / "run.db")
    try:
        return [row[0] for row in reader.rows("SELECT event FROM journal ORDER BY seq")]
    finally:
        reader.close()


def test_a_generation_whose_commit_was_missed_is_finished_and_not_computed_again(
    run: Path, expected: tuple[list[object], bytes], capfd: pytest.CaptureFixture[str]
) -> None:
    unrecord(run, 3)
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected
    assert "snapshot finished" in journal(run)
    assert "resuming at iteration 4 of 4 (generation 3)" in capfd.readouterr().err


def test_several_generations_whose_rows_were_lost_are_all_finished(
    run: Path, expected: tuple[list[object], bytes]
) -> None:
    unrecord(run, 2, 3)
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected
    assert journal(run).count("snapshot finished") == 2


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.9, 0.999])
def test_a_damaged_unfinished_generation_is_computed_again(
    run: Path, expected: tuple[list[object], bytes], place: float
) -> None:
    unrecord(run, 3)
    flip(place)(generations(run)[-1])
    weights = train(run)
    assert (digest(run), weights.tobytes()) == expected
    assert "snapshot finished" not in journal(run)


def test_a_damaged_best_state_in_an_unfinished_generation_is_noticed(tmp_path: Path) -> None:
    state = {"w": np.arange(64.0)}
    with store_at(tmp_path / "run") as store:
        tracked = Tracked(store, state)
        tracked.save(1)
        tracked.track.offer_best(1.0, position=1, parts=tracked.parts(), maximize=True)
        state["w"] += 1
        tracked.save(2)
        tracked.writer.close()
    path = generations(tmp_path / "run")[-1]
    content = bytearray(path.read_bytes())
    content[-9] ^= 1  # the best state is last
    path.write_bytes(content)
    with store_at(tmp_path / "run") as store:
        with store.transaction():
            store.database.execute("DELETE FROM snapshots WHERE generation = 2")
        recovery.recover(store)
        assert [g.number for g in store.generations.of_loop("epoch")] == [1]


def test_a_file_from_another_run_is_not_believed(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with killed(other, seed=99) as opened:
        weights = np.zeros(4)
        for epoch in opened.range("epoch", 9, state={"w": weights}, version="1"):
            weights += np.random.rand(4)
            opened.log(mean=1.0)
            opened.insert("seen", [{"epoch": epoch, "text": "other"}])
            if epoch == 4:
                opened._attempt.drain()
                raise Dead
    theirs = generations(other)[-1]
    assert theirs.name == "00000004.safetensors"
    shutil.copy(theirs, generations(run)[-1].with_name("00000004.safetensors"))
    train(run)
    assert "snapshot finished" not in journal(run)


def test_a_first_generation_from_a_run_with_another_seed_is_not_believed(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        with killed(tmp_path / name, seed=seed) as opened:
            weights = np.zeros(2)
            for _ in opened.range("epoch", 3, state={"w": weights}, version="1"):
                if weights.any():
                    opened._attempt.drain()
                    raise Dead
                weights += np.random.rand(2)
    ours, theirs = generations(tmp_path / "a"), generations(tmp_path / "b")
    shutil.copy(theirs[0], ours[0])
    unrecord(tmp_path / "a", 1)
    with store_at(tmp_path / "a") as store:
        recovery.recover(store)
        assert store.generations.of_loop("epoch") == []


def test_half_written_files_are_swept_away_and_foreign_ones_are_left(run: Path) -> None:
    folder = generations(run)[0].parent
    (folder / ".00000004.safetensors.abcd.tmp").write_bytes(b"half")
    (run / ".run.db.backup.abcd.tmp").write_bytes(b"half")
    (folder / "notes.txt").write_text("mine")
    train(run)
    assert (folder / "notes.txt").exists()
    assert not list(run.rglob("*.tmp"))


def test_retention_keeps_two_generations_the_final_one_and_the_one_in_the_backup(tmp_path: Path) -> None:
    with store_at(tmp_path / "run") as store:
        tracked = Tracked(store, {"w": np.zeros(2)})
        tracked.save(1)
        store.back_up()
        for position in range(2, 6):
            tracked.save(position)
        assert [path.stem[-1] for path in generations(tmp_path / "run")] == ["1", "4", "5"]
        store.back_up()
        tracked.save(6, final=True)
        for position in (7, 8, 9):
            tracked.save(position)
        assert [path.stem[-1] for path in generations(tmp_path / "run")] == ["5", "6", "8", "9"]
        tracked.writer.close()


@pytest.mark.parametrize("keep", [2, 3, 4, 6])
def test_as_many_generations_stay_as_were_asked_for(tmp_path: Path, keep: int) -> None:
    with store_at(tmp_path / "run") as store:
        tracked = Tracked(store, {"w": np.zeros(2)}, keep=keep)
        for position in range(1, 9):
            tracked.save(position)
            assert len(generations(tmp_path / "run")) == min(position, keep)
        tracked.writer.close()


def test_work_done_again_that_gives_other_bits_stops_the_run_every_time(run: Path) -> None:
    flip(0.9)(generations(run)[-1])
    for drift in (1.0, 2.0, 1.0):
        with pytest.raises(NondeterminismError, match="w differs from generation 3"):
            train(run, drift=drift)


def test_a_best_state_is_exported_even_when_the_attempt_died_just_before_that(tmp_path: Path) -> None:
    weights = np.zeros(2)

    def attempt() -> None:
        with perdure.open(tmp_path / "run", budget=None) as run:
            for epoch in run.range("epoch", 2, state={"w": weights}, best="max:score", version="1"):
                weights[:] += 1
                run.log(score=epoch)

    attempt()
    exported = tmp_path / "run" / "exports" / "epoch.best.safetensors"
    first = exported.read_bytes()
    for damage in (Path.unlink, flip(0.1)):
        damage(exported)
        attempt()
        assert exported.read_bytes() == first
