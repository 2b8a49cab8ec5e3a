"""With any one thing taken out of the package that keeps a run safe, a sweep fails: the sweeps can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeps import tracer
from sweeps.ledger import Sweep, counted
from sweeps.mutants import MUTANTS, Mutant
from sweeps.subject import subject

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not tracer.AVAILABLE, reason="the tracer knows Linux on x86-64 only"),
    pytest.mark.timeout(3600),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_a_sweep_notices_that_the_package_lost_what_keeps_a_run_safe(
    mutant: Mutant, source: Path, tmp_path: Path
) -> None:
    changed = mutant.make(source, tmp_path)
    tried = Sweep(mutant.what, mutant.subject)
    with counted(f"mutant: {mutant.what}", mutant.subject, possible=1) as sweep:
        with subject(mutant.subject, tmp_path, source=changed) as made:
            mutant.sweep(made, tried)
        unnoticed = "" if tried.failures else f"{tried.tried} states, and none fails"
        sweep.add(mutant.what, f"noticed after {tried.tried} states", unnoticed)
    assert sweep.failures == []
