"""`perdure.open` and what all verbs share: names, nesting, settings, changes, redo, the log."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import perdure
from inprocess import Dead, die, killed, train
from perdure.attempt import Attempt
from perdure.errors import (
    ChangedError,
    LockedError,
    MainGuardError,
    NameReusedError,
    NondeterminismError,
    Stopped,
    UsageError,
)  # fmt: skip
from processes import digest, environment

COUNT = {"calls": 0}


def add(one: int, other: int = 0) -> int:
    COUNT["calls"] += 1
    return one + other


def pair() -> tuple[int, tuple[str, ...]]:
    return 1, ("a",)


def large() -> np.ndarray:
    COUNT["calls"] += 1
    return np.random.rand(4000)


def drifting() -> list[float]:
    COUNT["calls"] += 1
    return [float(COUNT["calls"])]


def drawn() -> float:
    return float(np.random.rand())


def failing() -> None:
    raise ZeroDivisionError("no")


@pytest.fixture(autouse=True)
def fresh_count() -> None:
    COUNT["calls"] = 0


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "run"


def opened(place: Path, **options: Any) -> perdure.Run:
    return perdure.open(place, **({"budget": None} | options))


def test_a_step_is_called_once_and_its_record_is_returned_ever_after(place: Path) -> None:
    for _ in range(3):
        with opened(place) as run:
            assert run.step("add", add, 2, other=3) == 5
    assert COUNT["calls"] == 1


def test_a_result_comes_as_its_record_has_it_on_the_first_run_too(place: Path) -> None:
    for _ in range(2):
        with opened(place) as run:
            assert run.step("pair", pair) == [1, ["a"]]


def test_a_step_that_raises_records_nothing_and_is_called_again(place: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), opened(place) as run:
            run.step("failing", failing)
    with opened(place) as run:
        assert run._store.units.all("failing") == {}


def test_a_damaged_result_file_is_computed_again_and_compared(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with opened(place) as run:
        first = np.array(run.step("large", large))
    (blob,) = (place / "blobs").iterdir()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)
    with opened(place) as run:
        assert np.array(run.step("large", large)).tobytes() == first.tobytes()
    assert COUNT["calls"] == 2
    assert "does not match its digest" in capfd.readouterr().err
    assert len(list((place / "blobs").glob("*.damaged-1"))) == 1


@pytest.mark.parametrize("damage", ["document = '3'", "digest = 'f' || substr(digest, 2)"])
def test_a_damaged_record_of_a_small_result_is_computed_again(place: Path, damage: str) -> None:
    with opened(place) as run:
        run.step("add", add, 2)
    before = digest(place)
    with killed(place) as run, run._store.transaction():
        run._store.database.execute(f"UPDATE units SET {damage}")
    with opened(place) as run:
        assert run.step("add", add, 2) == 2
    assert COUNT["calls"] == 2
    assert digest(place) == before


def test_work_done_again_that_gives_something_else_stops_the_run(place: Path) -> None:
    with opened(place) as run:
        run.step("drifting", drifting)
    with killed(place) as run, run._store.transaction():
        run._store.database.execute("UPDATE units SET document = '[0.5]'")
    for _ in range(2):
        with pytest.raises(NondeterminismError, match=r"drifting.*another result"), opened(place) as run:
            run.step("drifting", drifting)


def test_a_step_draws_from_streams_of_its_own_and_gives_the_outer_ones_back(place: Path) -> None:
    with opened(place, seed=5) as run:
        inside = run.step("drawn", drawn)
        after = np.random.rand()
    with opened(place, seed=5) as run:
        assert run.step("drawn", drawn) == inside
        assert np.random.rand() == after


def test_without_a_seed_the_streams_are_left_alone(place: Path) -> None:
    np.random.seed(123)
    expected = np.random.RandomState(123).rand(2)
    with opened(place, seed=None) as run:
        assert [run.step("drawn", drawn), np.random.rand()] == expected.tolist()


# -- names and nesting -----------------------------------------------------------------------------------------------


def test_a_name_used_twice_names_both_lines(place: Path) -> None:
    with (
        pytest.raises(
            NameReusedError, match=r"'a' is used at test_run\.py:\d+ and again at test_run\.py:\d+"
        ),
        opened(place) as run,
    ):
        run.step("a", add, 1)
        run.step("a", add, 2)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 101, 3, None])
def test_what_cannot_name_a_phase_is_refused(place: Path, name: Any) -> None:
    with pytest.raises(UsageError, match="cannot name a phase"), opened(place) as run:
        run.step(name, add, 1)


def nested(run: perdure.Run) -> int:
    return run.step("inner", add, 1)  # type: ignore[no-any-return]


def test_verbs_inside_a_loop_or_a_step_are_refused_with_the_reason(place: Path) -> None:
    with pytest.raises(UsageError, match="'inner' is used inside the body of 'outer'"), opened(place) as run:
        for _ in run.range("outer", 2):
            run.range("inner", 2)
    with pytest.raises(UsageError, match="inside the body of 'step'"), opened(place) as run:
        run.step("step", nested, run, version="1")


def test_a_verb_between_a_loop_and_its_first_iteration_is_told_so(place: Path) -> None:
    with (
        pytest.raises(UsageError, match="'other' comes before the loop 'loop', made above, was run"),
        opened(place) as run,
    ):
        run.range("loop", 2)
        run.step("other", add, 1)


@pytest.mark.parametrize("verb", ["log", "insert", "batches"])
def test_what_belongs_into_a_body_is_refused_outside(place: Path, verb: str) -> None:
    with pytest.raises(UsageError, match=f"run.{verb} belongs"), opened(place) as run:
        {"log": lambda: run.log(a=1), "insert": lambda: run.insert("t", [{"a": 1}]),
         "batches": lambda: run.batches(3, batch_size=1)}[verb]()  # fmt: skip


def test_a_second_run_on_the_folder_is_refused_in_the_same_process_too(place: Path) -> None:
    with opened(place), pytest.raises(LockedError, match=f"process {os.getpid()}"):
        opened(place)


@pytest.mark.parametrize("options", [{"keep": 1}, {"budget": 0}, {"budget": 2.0}, {"budget": -1}])
def test_options_that_make_no_sense_are_refused_before_anything_is_made(
    place: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        perdure.open(place, **options)
    assert not place.exists()


# -- changes ---------------------------------------------------------------------------------------------------------


def test_another_config_or_seed_stops_the_run_and_lists_each_difference(place: Path) -> None:
    with opened(place, config={"lr": 0.1, "deep": {"er": 1}}, seed=1):
        pass
    with pytest.raises(ChangedError) as caught:
        opened(place, config={"lr": 0.2, "deep": {"er": 2}}, seed=2)
    assert caught.value.exit_code == 73
    for line in ("seed was 1, is 2", "lr was 0.1, is 0.2", "deep.er was 1, is 2"):
        assert any(line in difference for difference in caught.value.differences), caught.value.differences


def test_another_argument_stops_the_step(place: Path) -> None:
    with opened(place) as run:
        run.step("add", add, 1)
    with pytest.raises(ChangedError) as caught, opened(place) as run:
        run.step("add", add, 2)
    assert any("argument" in line for line in caught.value.differences)


SCRIPT = """
import sys, perdure
def work(x):
    return x {operator} 1
with perdure.open("r") as run:
    print(run.step("work", work, 3), run.step("after", abs, -1, version="1"))
"""


def run_text(place: Path, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    script = place.parent / "script.py"
    script.write_text(text)
    return subprocess.run(
        [sys.executable, str(script)], env=environment(place, **variables), capture_output=True, text=True
    )


def test_changed_code_exits_73_can_be_accepted_or_redone_and_comments_do_not_count(place: Path) -> None:
    assert run_text(place, SCRIPT.format(operator="+")).stdout == "4 1\n"
    assert run_text(place, "# a comment\n" + SCRIPT.format(operator="+")).stdout == "4 1\n"
    refused = run_text(place, SCRIPT.format(operator="-"))
    assert refused.returncode == 73 and "Traceback" not in refused.stderr and "script.py" in refused.stderr
    assert run_text(place, SCRIPT.format(operator="-"), PERDURE_ACCEPT_CHANGES="1").stdout == "4 1\n"
    redone = run_text(place, SCRIPT.format(operator="-"), PERDURE_REDO='["work"]')
    assert redone.stdout == "2 1\n" and "work and all after it are computed again" in redone.stderr


def test_the_threads_that_a_run_was_computed_with_are_part_of_it(place: Path) -> None:
    first = run_text(place, SCRIPT.format(operator="+"), OMP_NUM_THREADS="1")
    again = run_text(place, SCRIPT.format(operator="+"), OMP_NUM_THREADS="2")
    assert (first.returncode, again.returncode) == (0, 73) and "OMP_NUM_THREADS" in again.stderr


def test_accepted_changes_are_in_the_journal(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(place, config={"a": 1}):
        pass
    monkeypatch.setenv("PERDURE_ACCEPT_CHANGES", "1")
    with opened(place, config={"a": 2}) as run:
        rows = run._store.database.rows("SELECT detail FROM journal WHERE event = 'changes accepted'")
    assert "config: a was 1, is 2" in rows[0]["detail"]


def test_a_redo_forgets_everything_after_the_phase_in_one_commit(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script() -> list[int]:
        with opened(place) as run:
            return [run.step(name, add, number) for number, name in enumerate("abc")]

    script()
    monkeypatch.setenv("PERDURE_REDO", '["b"]')
    with killed(place) as run:
        assert [phase.path for phase in run._store.units.phases()] == ["a"]
    assert script() == [0, 1, 2]  # the same command again, although "b" is forgotten already
    assert COUNT["calls"] == 5


@pytest.mark.parametrize("breaks", [False, True])
def test_a_redo_of_a_loop_inside_a_unit_computes_that_unit_and_all_after_it_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, breaks: bool
) -> None:
    bodies: list[str] = []

    def script() -> None:
        with opened(place) as run:
            for unit in run.each("models", ["a", "b", "c", "d"]):
                bodies.append(unit.key)
                weights = np.zeros(2)
                for _ in run.range("epoch", 2, state={"w": weights}):
                    weights += np.random.rand(2)
                run.insert("scores", [{"score": float(weights.sum())}])
                unit.result = weights
                if breaks and unit.key == "c":
                    break
            run.step("end", add, 1)

    script()
    computed, before = list(bodies), digest(place)
    monkeypatch.setenv("PERDURE_REDO", '["models/b/epoch"]')
    script()
    assert bodies[len(computed) :] == computed[1:] and COUNT["calls"] == 2
    assert digest(place) == before
    script()  # the same command again begins the redo again
    assert digest(place) == before


def test_a_redo_of_an_unknown_phase_lists_the_known_ones(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(place) as run:
        run.step("a", add, 1)
        for unit in run.each("models", {"forest": 1}):
            unit.result = run.step("fit", add, 1)
    monkeypatch.setenv("PERDURE_REDO", '["typo"]')
    with pytest.raises(UsageError, match=r"--redo typo: the run has no such phase; it has a, models$"):
        opened(place)
    monkeypatch.setenv("PERDURE_REDO", '["models/forest/fitt"]')
    with pytest.raises(UsageError, match=r"it has a, models; did you mean 'models/forest/fit'\?"):
        opened(place)


def test_snapshots_left_by_a_redo_that_was_killed_are_not_taken_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "reference")
    train(tmp_path / "run")
    monkeypatch.setenv("PERDURE_REDO", '["epoch"]')

    def die_before(path: Path) -> None:
        if path.suffix == ".safetensors":
            raise Dead
        path.unlink(missing_ok=True)

    with monkeypatch.context() as patched:
        patched.setattr("perdure.changes.files.remove", die_before)
        with pytest.raises(Dead):
            perdure.open(tmp_path / "run", seed=3)
    monkeypatch.delenv("PERDURE_REDO")
    assert list((tmp_path / "run").glob("snapshots/*/*.safetensors"))
    with killed(tmp_path / "run", seed=3) as run:
        assert run._store.generations.loops() == []
        assert not list((tmp_path / "run").glob("snapshots/*/*.safetensors"))


# -- settings from outside -------------------------------------------------------------------------------------------


def test_settings_from_the_environment_override_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_RUN", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PERDURE_SET", json.dumps(["lr=0.5", "deep.name=x y", "on=true"]))
    with opened(tmp_path / "run", config={"lr": 0.1, "deep": {"name": "a"}, "on": False}) as run:
        assert run.folder == tmp_path / "elsewhere"
        assert run.config == {"lr": 0.5, "deep": {"name": "x y"}, "on": True}


@pytest.mark.parametrize("change", ["typo=1", "lr", "=1", "lr.deeper=1"])
def test_an_override_of_nothing_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setenv("PERDURE_SET", json.dumps([change]))
    with pytest.raises(UsageError, match="--set"):
        opened(place, config={"lr": 0.1})


@pytest.mark.parametrize(("name", "text"), [("SET", "lr=1"), ("REDO", '{"a": 1}'), ("GRACE", "soon")])
def test_a_malformed_setting_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    monkeypatch.setenv(f"PERDURE_{name}", text)
    with pytest.raises(UsageError, match=f"PERDURE_{name}"):
        opened(place)


def test_a_worker_that_reaches_open_explains_the_main_guard(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_WORKER", "1")
    with pytest.raises(MainGuardError, match='if __name__ == "__main__":'):
        opened(place)


# -- the end ---------------------------------------------------------------------------------------------------------


def outcome(place: Path) -> tuple[object, ...]:
    with killed(place) as run:
        return tuple(
            run._store.database.rows("SELECT outcome, exit_code FROM attempts ORDER BY id DESC LIMIT 2")[1]
        )


def test_how_an_attempt_ended_is_recorded(place: Path) -> None:
    with opened(place):
        pass
    assert outcome(place) == ("completed", 0)
    with pytest.raises(ZeroDivisionError), opened(place) as run:
        run.step("failing", failing)
    assert outcome(place) == ("failed", 1)


def test_a_fork_that_ends_leaves_the_run_to_its_parent(place: Path) -> None:
    with opened(place) as run:
        child = os.fork()
        if child == 0:
            try:
                run.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert run.step("add", add, 1) == 1
    assert outcome(place) == ("completed", 0)


def test_a_log_that_cannot_be_written_stops_before_anything_and_gives_the_lock_back(place: Path) -> None:
    (place / "run.log").mkdir(parents=True)
    with pytest.raises(perdure.StorageError, match=r"run\.log"):
        opened(place)
    (place / "run.log").rmdir()
    with opened(place):
        pass


def test_a_phase_whose_record_of_beginning_was_lost_is_found_in_the_backup(place: Path) -> None:
    with opened(place) as run:
        first = run.step("add", add, 1)
    with killed(place) as run, run._store.transaction():
        run._store.database.execute("UPDATE phases SET path = 'adc'")
    with opened(place) as run:
        assert run.step("add", add, 1) == first
        assert run._store.recovered is not None
    assert COUNT["calls"] == 1


def test_a_save_that_failed_after_ctrl_c_is_what_the_run_ends_with(place: Path) -> None:
    with pytest.raises(perdure.StorageError, match="full"), opened(place) as run:
        run._session.signals.requested = signal.SIGINT
        raise perdure.StorageError("the disk is full")
    with opened(place) as run:
        assert run.step("add", add, 1) is not None


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_run_is_being_left_waits_for_its_record_and_ends_the_script(
    place: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    record_end = Attempt._record_end

    def interrupted(self: Attempt, error: BaseException | None) -> None:
        os.kill(os.getpid(), number)
        record_end(self, error)

    with monkeypatch.context() as patch, pytest.raises(Stopped) as caught:
        patch.setattr(Attempt, "_record_end", interrupted)
        with opened(place) as run:
            run.step("add", add, 1)
    assert caught.value.code == 128 + number
    with opened(place) as run:
        assert run._store.died is None
        assert run._store.database.rows("SELECT outcome FROM attempts")[0][0] == "completed"


def test_a_ctrl_c_while_a_run_is_being_opened_ends_the_script_without_a_traceback(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(place).close()
    with monkeypatch.context() as patch, pytest.raises(Stopped) as caught:
        patch.setattr("perdure.store.rest.was_altered", lambda _: signal.raise_signal(signal.SIGINT))
        opened(place)
    assert caught.value.code == 130
    opened(place).close()


def test_a_step_whose_process_died_right_after_its_commit_is_complete_on_the_rerun(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(*_: object, **__: object) -> None:
        raise Dead

    run = opened(place)
    with monkeypatch.context() as patched:
        patched.setattr("perdure.phase.Session.complete", dead)
        with pytest.raises(Dead):
            run.step("add", add, 1)
    die(run)
    with opened(place) as run:
        run.step("add", add, 1)
        assert [phase.state for phase in run._store.units.phases()] == ["completed"]
    assert COUNT["calls"] == 1


def test_exports_are_whole_and_stay_inside_their_folder(place: Path) -> None:
    with opened(place) as run:
        assert run.export("a.txt", b"1").read_bytes() == b"1"
        for name in ("../a", "a/b", ".hidden", "/tmp/x"):
            with pytest.raises(UsageError):
                run.export(name, b"1")
