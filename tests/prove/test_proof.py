"""A proof finds what is exact, what is not, and names the culprit."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from perdure.errors import StorageError, UsageError
from perdure.prove import proof as module
from perdure.prove.proof import DIFFERS, EXACT, NONDETERMINISTIC, Proof, Prover
from perdure.prove.report import findings, headline, html
from perdure.prove.subject import Point, Subject
from perdure.testing import Script
from processes import SCRIPTS, SOURCE

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def subject(place: Path, script: Path, *, limit: float = 120) -> Subject:
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    scratch = place / "scratch"
    scratch.mkdir(mode=0o700)
    return Subject(Script.of(script, environment={"PYTHONPATH": path}), script.stem, scratch, limit)


def proved(place: Path, script: str, kills: int, mode: str = "seams") -> Proof:
    return Prover(subject(place, SCRIPTS / script), script, kills, mode).prove()


def test_a_whole_script_is_exact_after_single_kills_and_several_in_a_row(tmp_path: Path) -> None:
    found = proved(tmp_path, "raw_loop.py", 6)
    assert (found.verdict, found.kills, found.equal, found.difference) == (EXACT, 6, 6, None)
    assert [len(trial.points) for trial in found.trials] == [1, 1, 1, 1, 2]
    assert any(trial.saved != ("the start",) for trial in found.trials)
    left = {path.name for path in (tmp_path / "scratch").iterdir()}
    assert left.isdisjoint({"second", "now", *(f"killed-{number}" for number in range(9))})


@posix
@pytest.mark.crash
@pytest.mark.parametrize("mode", ["random", "syscalls"])
@pytest.mark.parametrize("script", ["raw_loop.py", "units.py"])
def test_scripts_are_exact_wherever_they_are_killed(tmp_path: Path, script: str, mode: str) -> None:
    if mode == "syscalls" and shutil.which("strace") is None:
        pytest.skip("needs strace")
    found = proved(tmp_path, script, 12, mode)
    assert (found.verdict, found.equal) == (EXACT, found.kills)
    assert found.kills >= 9  # a moment may come when all is done


def test_a_plain_local_variable_that_leaks_is_named_with_its_line(tmp_path: Path) -> None:
    found = proved(tmp_path, "leaky.py", 2)
    assert found.verdict == DIFFERS and found.equal < found.kills == 2
    assert found.difference is not None and found.difference.phase == "epoch"
    assert found.difference.where == "['smooth']" and found.difference.expected != found.difference.found
    line = SCRIPTS.joinpath("leaky.py").read_text().splitlines().index(
        "        smooth = 0.9 * smooth + 0.1 * float(w.mean())") + 1  # fmt: skip
    first = found.suspects[0]
    assert (first.kind, first.file, first.line, first.code) == ("local", "leaky.py", line, "smooth")
    assert len(found.uninterrupted) == 3  # a third one was made before perdure was blamed
    assert b"smooth" in html(found) and "differs" in headline(found)


@pytest.mark.crash
def test_a_resumed_run_that_fails_is_shown_with_what_it_said(tmp_path: Path) -> None:
    script = tmp_path / "once.py"
    script.write_text(
        "import perdure\n"
        "with perdure.open('runs/once') as run:\n"
        "    (run.folder / 'marker').touch(exist_ok=False)\n"
        "    for unit in run.each('units', 'abcdef'):\n"
        "        unit.result = unit.key\n"
    )
    found = Prover(subject(tmp_path, script), "once.py", 1).prove()
    assert (found.verdict, found.kills, found.equal, found.difference) == (DIFFERS, 1, 0, None)
    assert "FileExistsError" in found.problem and any("FileExistsError" in line for line in findings(found))
    assert "takes another way" in found.cause


def test_noise_seeded_by_the_time_is_named_and_nothing_is_killed(tmp_path: Path) -> None:
    found = proved(tmp_path, "timed_noise.py", 3)
    assert (found.verdict, found.kills, found.trials) == (NONDETERMINISTIC, 0, ())
    assert found.difference is not None
    assert "after iteration 1" in found.difference.when and found.difference.part == "part w"
    assert found.suspects[0].code == "time.time_ns()"
    assert any("also when nothing interrupts it" in line for line in findings(found))


def test_the_order_of_a_set_is_found_out_by_holding_it_still(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    found = proved(tmp_path, "set_order.py", 3)
    assert found.verdict == NONDETERMINISTIC
    assert found.difference is not None and found.difference.where == "['total']"
    assert "PYTHONHASHSEED" in found.cause
    assert (found.suspects[0].kind, "chosen" in found.suspects[0].code) == ("hash", True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print('no run here')", "without opening a run"),
        ("import sys; print('the reason', file=sys.stderr); sys.exit(9)", "ended with 9 .*the reason"),
        ("import time; time.sleep(60)", "did not end within"),
        ("import perdure\nwith perdure.open('runs/x'): pass", "none of its verbs"),
        (
            "import os, perdure\n"
            "with perdure.open('runs/x', config={'pid': os.getpid()}) as run: run.step('pid', os.getpid, version='1')",
            "phase pid ran with other code, config",
        ),
    ],
)
def test_a_mistake_of_the_script_itself_is_said_as_such(tmp_path: Path, text: str, words: str) -> None:
    script = tmp_path / "mistaken.py"
    script.write_text(text)
    with pytest.raises(UsageError, match=f"(?s){words}"):
        Prover(subject(tmp_path, script, limit=1 if "sleep" in text else 60), "mistaken.py", 2).prove()


def test_a_proof_without_a_single_kill_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "short.py"
    script.write_text(
        "import perdure\nwith perdure.open('runs/x') as run: run.step('one', int, version='1')\n"
    )
    late = [Point("never", {"PERDURE_KILL_AT": "nowhere:1"})]
    monkeypatch.setattr(module.points, "at_seams", lambda *given: (late, []))
    with pytest.raises(UsageError, match="nothing is proven"):
        Prover(subject(tmp_path, script), "short.py", 1).prove()


def test_a_disk_that_is_too_small_for_all_runs_is_said_after_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SPARE", 1 << 60)
    with pytest.raises(StorageError, match="the other runs of this proof needs"):
        proved(tmp_path, "leaky.py", 2)
