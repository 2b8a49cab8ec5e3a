"""The table at the end, and subjects that the tests of a module share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from processes import SOURCE
from sweeps import ledger
from sweeps.subject import Subject, subject


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ledger.LEDGER:
        terminalreporter.section("sweeps")
        for line in ledger.lines(ledger.LEDGER):
            terminalreporter.write_line(line)
        if path := os.environ.get("SWEEP_JSON"):
            ledger.write(Path(path), ledger.LEDGER)


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, so that nobody changes it while a sweep of an hour compares its runs."""
    return Path(shutil.copytree(SOURCE, tmp_path_factory.mktemp("source") / "src"))


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Iterator[Callable[[str], Subject]]:
    """Gives the subject of a name; each is made once."""
    with ExitStack() as stack:
        made: dict[str, Subject] = {}

        def get(name: str) -> Subject:
            if name not in made:
                place = tmp_path_factory.mktemp(name)
                made[name] = stack.enter_context(subject(name, place, source=source))
            return made[name]

        yield get


@pytest.fixture
def raw(make: Callable[[str], Subject]) -> Subject:
    return make("raw")


@pytest.fixture
def heavy(make: Callable[[str], Subject]) -> Subject:
    return make("heavy")
