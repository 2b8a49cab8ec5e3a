"""Errors: they survive a process boundary, know their exit code, and reach people as one message."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from perdure import errors
from perdure.errors import ChangedError, PerdureError, Stopped
from processes import environment

ALL = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PerdureError)]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_with_all_it_knows(kind: type[PerdureError]) -> None:
    error = kind("what happened", ["one", "two"]) if kind is ChangedError else kind("what happened")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == "what happened" and vars(again) == vars(error)
    assert again.exit_code == kind.exit_code


def test_exit_codes_are_as_documented() -> None:
    codes = {kind.__name__: kind.exit_code for kind in ALL}
    assert {name for name, code in codes.items() if code == 2} == {
        "UsageError", "StateError", "NameReusedError", "MainGuardError"}  # fmt: skip
    assert (codes["ChangedError"], codes["StorageError"], codes["LockedError"]) == (73, 74, 75)
    for name, code in codes.items():
        assert f"{name}" in (errors.__doc__ or "") and code in {1, 2, 73, 74, 75}


def test_a_stop_is_no_error_that_a_script_would_catch() -> None:
    assert not issubclass(Stopped, Exception) and Stopped(130).code == 130


@pytest.mark.parametrize("kind", [PerdureError, ChangedError, errors.StorageError])
def test_an_error_that_nobody_catches_is_one_message_without_a_traceback(
    tmp_path: Path, kind: type[PerdureError]
) -> None:
    script = tmp_path / "s.py"
    script.write_text(
        f"import perdure\nfrom perdure.errors import {kind.__name__}\nwith perdure.open('r'):\n"
        f"    raise {kind.__name__}('what \\x1b[31mhappened')\n"
    )
    done = subprocess.run(
        [sys.executable, script], env=environment(tmp_path / "r"), capture_output=True, text=True
    )
    assert done.returncode == kind.exit_code
    assert done.stderr.endswith("perdure: error: what \\x1b[31mhappened\n") and "Traceback" not in done.stderr


def test_an_error_of_the_script_keeps_its_traceback(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("import perdure\nwith perdure.open('r'):\n    1 / 0\n")
    done = subprocess.run(
        [sys.executable, script], env=environment(tmp_path / "r"), capture_output=True, text=True
    )
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr and "s.py" in done.stderr
