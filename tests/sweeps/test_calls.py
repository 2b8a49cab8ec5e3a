"""Kills and errors at every call that changes a file of a run."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from sweeps import calls, tracer
from sweeps.ledger import chosen, counted
from sweeps.subject import Subject

pytestmark = [
    pytest.mark.skipif(not tracer.AVAILABLE, reason="the tracer knows Linux on x86-64 only"),
    pytest.mark.timeout(7200),
]
SAMPLED = {"units": 40, "keras": 40, "exoplanet": 6, "market": 6}
SUBJECTS = [pytest.param(name, marks=pytest.mark.crash) for name in ("raw", *SAMPLED)]


@pytest.fixture
def subject(request: pytest.FixtureRequest, make: Callable[[str], Subject]) -> Subject:
    return make(request.param)


def points(subject: Subject) -> list[int]:
    return chosen(range(1, subject.calls + 1), SAMPLED.get(subject.name))


@pytest.mark.parametrize("subject", SUBJECTS, indirect=True)
def test_a_run_killed_at_any_call_ends_with_the_same_bits_and_repeats_nothing(subject: Subject) -> None:
    with counted("killed at each call", subject.name, possible=subject.calls) as sweep:
        calls.killed(subject, sweep, points(subject))
    assert sweep.failures == []


@pytest.mark.parametrize("subject", SUBJECTS, indirect=True)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO], ids=["ENOSPC", "EIO"])
def test_a_run_whose_disk_fails_stops_clearly_and_a_rerun_ends_with_the_same_bits(
    subject: Subject, code: int, lasting: bool
) -> None:
    name = f"{errno.errorcode[code]} {'from each call on' if lasting else 'at each call'}"
    with counted(name, subject.name, possible=subject.calls) as sweep:
        calls.failed(subject, sweep, points(subject), code, lasting=lasting)
    assert sweep.failures == []


def test_a_run_killed_or_failed_at_a_few_calls_ends_with_the_same_bits(raw: Subject) -> None:
    some = chosen(range(1, raw.calls), 4)
    with counted("killed at a few calls", raw.name) as sweep:
        calls.killed(raw, sweep, some)
        calls.failed(raw, sweep, some[:2], errno.ENOSPC, lasting=True)
        calls.failed(raw, sweep, some[2:], errno.EIO, lasting=False)
    assert sweep.failures == []
