"""One damaged file: the same bits, or a clear stop and a repair; never another result in silence."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps import damage, tracer
from sweeps.ledger import chosen, counted
from sweeps.subject import Subject

pytestmark = [
    pytest.mark.skipif(not tracer.AVAILABLE, reason="the tracer knows Linux on x86-64 only"),
    pytest.mark.timeout(7200),
]
SAMPLED = {"units": 30, "keras": 30, "exoplanet": 6, "market": 6}


def sweep_damage(subject: Subject, place: Path, state: str, number: int | None, name: str) -> list[str]:
    run, older = place / "run", place / "older"
    damage.MADE[state](subject, run, older)
    exhaustive = os.environ.get("SWEEP_STATES") == "all"
    all_of = list(damage.damages(run, older, sampled=None if exhaustive else damage.SAMPLED))
    with counted(name, subject.name, possible=len(all_of)) as sweep:
        damage.answered(subject, sweep, run, chosen(all_of, number))
    return sweep.failures


@pytest.mark.crash
@pytest.mark.parametrize(
    ("name", "state"),
    [*(("raw", state) for state in damage.MADE), *((name, "completed") for name in SAMPLED)],
)
def test_one_damaged_file_never_changes_a_result_in_silence(
    make: Callable[[str], Subject], tmp_path: Path, name: str, state: str
) -> None:
    assert sweep_damage(make(name), tmp_path, state, SAMPLED.get(name), f"damage to a {state} run") == []


def test_a_few_damaged_files_never_change_a_result_in_silence(raw: Subject, tmp_path: Path) -> None:
    assert sweep_damage(raw, tmp_path, "stopped", 5, "damage, a few") == []


def test_a_backup_whose_tables_are_defined_in_no_text_harms_nothing(raw: Subject, tmp_path: Path) -> None:
    run, older = tmp_path / "run", tmp_path / "older"
    damage.unrecorded_run(raw, run, older)
    backup = run / "run.db.backup"
    backup.write_bytes(backup.read_bytes().replace(b"batch INTEGER", b"batch \xccNTEGER"))
    assert raw.wrong(run, raw.run(run)) == ""
