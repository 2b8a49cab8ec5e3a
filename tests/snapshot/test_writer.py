"""The writer thread does everything that it is handed, in order."""

from __future__ import annotations

import threading

import pytest

from perdure.snapshot import writer


def test_work_that_comes_during_a_pulse_is_done_and_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "PULSE_SECONDS", 0.001)
    beating, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def pulse() -> None:
        beating.set()
        go_on.wait(10)

    under_test = writer.Writer(pulse=pulse)
    try:
        assert beating.wait(10)
        under_test.submit(done.set)
        go_on.set()
        under_test.wait()
        assert done.is_set()
    finally:
        go_on.set()
        under_test.close()


def test_work_handed_over_right_after_a_wait_meets_no_writer_that_still_waits_for_the_waiter() -> None:
    done: list[int] = []
    tidied: list[int] = []
    under_test = writer.Writer(pulse=lambda: None)

    def work(number: int) -> None:
        done.append(number)
        under_test.afterwards(lambda: tidied.append(number))

    try:
        for number in range(2000):
            under_test.submit(lambda number=number: work(number))  # type: ignore[misc]
            under_test.wait()
            assert done[-1] == number
        under_test.settle()
        assert done == tidied == list(range(2000))
    finally:
        under_test.close()
