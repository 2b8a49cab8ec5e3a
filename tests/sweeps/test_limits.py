"""Limits, signals and a crowd: a clear answer to each, then the same bits."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import SOURCE
from sweeps import calls, limits, tracer
from sweeps.ledger import chosen, counted
from sweeps.subject import Subject

pytestmark = [
    pytest.mark.crash,
    pytest.mark.skipif(not tracer.AVAILABLE, reason="the tracer knows Linux on x86-64 only"),
    pytest.mark.timeout(7200),
]
KILOBYTE, MEGABYTE = 1 << 10, 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MB in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m,mode=700", "tmpfs", place]
    if os.geteuid() or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_disk_that_fills_up_at_any_moment_stops_the_run_clearly(heavy: Subject, disk: Path) -> None:
    free = [8 * MEGABYTE + step * 256 * KILOBYTE for step in range(-2, 46)]
    with counted("disk full", heavy.name, possible=len(free)) as sweep:
        limits.full_disk(heavy, sweep, disk, chosen(free, 24))
    assert sweep.failures == []


def test_a_limit_on_the_size_of_files_stops_the_run_clearly(raw: Subject, heavy: Subject) -> None:
    with counted("RLIMIT_FSIZE", raw.name) as sweep:
        limits.resources(
            raw, sweep, resource.RLIMIT_FSIZE, chosen(range(0, 80 * KILOBYTE, 2 * KILOBYTE), 20), harsh=False
        )
    with counted("RLIMIT_FSIZE", heavy.name) as other:
        values = chosen(range(64 * KILOBYTE, 5 * MEGABYTE, 128 * KILOBYTE), 10)
        limits.resources(heavy, other, resource.RLIMIT_FSIZE, values, harsh=False)
    assert sweep.failures + other.failures == []


def test_few_descriptors_and_little_memory_damage_nothing(raw: Subject) -> None:
    with counted("RLIMIT_NOFILE", raw.name) as sweep:
        limits.resources(raw, sweep, resource.RLIMIT_NOFILE, chosen(range(3, 24), None), harsh=True)
    with counted("RLIMIT_AS", raw.name) as other:
        values = chosen(range(40 * MEGABYTE, 640 * MEGABYTE, 30 * MEGABYTE), None)
        limits.resources(raw, other, resource.RLIMIT_AS, values, harsh=True)
    assert sweep.failures + other.failures == []


def test_a_run_that_the_kernel_kills_for_its_memory_loses_nothing(heavy: Subject) -> None:
    if not (limits.CGROUPS / "memory.limit_in_bytes").exists() or os.geteuid():
        pytest.skip("needs root and the memory controller of cgroups, version 1")
    with counted("memory cgroup", heavy.name) as sweep:
        limits.memory(heavy, sweep, chosen(range(16 * MEGABYTE, 96 * MEGABYTE, 5 * MEGABYTE), None))
    assert sweep.failures == []


@pytest.mark.parametrize("code", [errno.EROFS, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EMFILE])
def test_a_disk_that_refuses_from_some_call_on_stops_the_run_clearly(raw: Subject, code: int) -> None:
    number = raw.calls
    with counted(f"{errno.errorcode[code]} from each call on", raw.name, possible=number) as sweep:
        calls.failed(raw, sweep, chosen(range(1, number + 1), 30), code, lasting=True)
    assert sweep.failures == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_call_ends_the_run_in_order(raw: Subject, number: signal.Signals) -> None:
    possible = raw.calls
    points = [(index, None) for index in chosen(range(1, possible + 1), 60)]
    with counted(f"{number.name} at each call", raw.name, possible=possible) as sweep:
        calls.signalled(raw, sweep, points, number)
    assert sweep.failures == []


def test_a_second_interrupt_at_any_distance_leaves_a_run_that_goes_on(raw: Subject) -> None:
    possible = raw.calls
    points = [(index, gap) for index in range(1, possible - 40) for gap in range(0, 40, 2)]
    with counted("SIGINT twice", raw.name, possible=len(points)) as sweep:
        calls.signalled(raw, sweep, chosen(points, 80), signal.SIGINT)
    assert sweep.failures == []


def test_of_fifty_starts_at_once_one_runs_and_the_others_name_it(tmp_path: Path) -> None:
    with counted("50 starts at once", "slow") as sweep:
        limits.crowd(sweep, tmp_path / "run", 50, SOURCE)
    shutil.rmtree(tmp_path / "run")
    assert sweep.tried == 50 and sweep.failures == []
