"""Power cuts: replayed on a model of a disk, and real ones on file systems of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps import disk, recording, replay, tracer
from sweeps.ledger import chosen, counted
from sweeps.subject import Subject

pytestmark = [
    pytest.mark.skipif(not tracer.AVAILABLE, reason="the tracer knows Linux on x86-64 only"),
    pytest.mark.timeout(7200),
]
SAMPLED = {"units": 40, "keras": 40, "exoplanet": 6, "market": 6}


@pytest.mark.crash
@pytest.mark.parametrize("name", ["raw", *SAMPLED])
def test_after_a_power_cut_at_any_moment_a_rerun_ends_with_the_same_bits_and_nothing_acknowledged_is_lost(
    make: Callable[[str], Subject], name: str
) -> None:
    subject = make(name)
    operations = recording.record(subject)
    if name in SAMPLED:
        moments = chosen(range(len(operations)), SAMPLED[name])
        some, possible = replay.cuts_at(operations, moments), replay.KINDS * len(operations)
    else:
        states = list(replay.cuts(operations))
        some, possible = iter(chosen(states, None)), len(states)
    with counted("power cut, replayed", name, possible=possible) as sweep:
        replay.resumed(subject, sweep, some)
    assert sweep.failures == []


def test_after_a_power_cut_at_a_few_moments_a_rerun_ends_with_the_same_bits(raw: Subject) -> None:
    states = list(replay.cuts(recording.record(raw)))
    with counted("power cut, a few", raw.name, possible=len(states)) as sweep:
        replay.resumed(raw, sweep, chosen(states, 5))
    assert sweep.failures == []


@pytest.mark.crash
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
@pytest.mark.parametrize("name", ["raw", "keras"])
def test_after_a_real_power_cut_a_rerun_ends_with_the_same_bits_and_nothing_acknowledged_is_lost(
    make: Callable[[str], Subject], name: str, kind: str, tmp_path: Path
) -> None:
    if reason := disk.refusal(kind):
        pytest.skip(reason)
    subject = make(name)
    number = subject.calls
    some = chosen(range(1, number + 1), {"raw": 160}.get(name, 12))
    try:
        with disk.disk(kind, tmp_path) as on, counted(f"power cut on {kind}", name, possible=number) as sweep:
            disk.cut(subject, sweep, some, on)
    except disk.CannotMountError as error:
        pytest.skip(str(error))
    assert sweep.failures == []
