"""A run that each released format left behind is still read, verified and resumed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from processes import finish, rows

COMPAT = Path(__file__).parent / "compat"
FORMATS = sorted(COMPAT.glob("format-*"))


def test_a_run_of_every_released_format_is_kept() -> None:
    from perdure.store.schema import FORMAT

    assert [folder.name for folder in FORMATS] == [f"format-{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("kept", FORMATS, ids=lambda folder: folder.name)
def test_a_run_that_was_killed_goes_on_with_this_version(kept: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(kept, folder)
    before = rows(folder, "SELECT seq, position, entry FROM history ORDER BY seq")
    # it was written with other library versions, on another machine
    done = finish("raw_loop.py", folder, PERDURE_ACCEPT_CHANGES="1")
    assert "resuming at iteration 4 of 4, batch 3" in done.stderr
    assert rows(folder, "SELECT seq, position, entry FROM history ORDER BY seq")[: len(before)] == before
    assert rows(folder, "SELECT state FROM phases") == [("completed",), ("completed",)]
    assert rows(folder, "SELECT count(*) FROM seen_rows") == [(12,)]
