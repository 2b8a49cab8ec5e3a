"""Every error leads to a page that exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from command_line import answer, perdure
from perdure import errors
from perdure.cli.links import DOCUMENTATION, PAGES, help_for

ROOT = Path(__file__).resolve().parents[2]
KINDS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.PerdureError) and kind is not errors.PerdureError
]


def anchors(page: Path) -> set[str]:
    return {
        title.strip().lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    }


def test_the_address_is_the_projects_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["urls"]["Documentation"] == DOCUMENTATION


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_error_has_a_page_with_its_cause_and_remedy(kind: type[errors.PerdureError]) -> None:
    address = help_for(kind("what happened"))
    assert address is not None
    page, _, anchor = address.removeprefix(f"{DOCUMENTATION}/").partition("#")
    assert anchor in anchors(ROOT / "docs" / page)
    section = (ROOT / "docs" / page).read_text().partition(f"## {kind.__name__}\n")[2].partition("\n## ")[0]
    assert "**Cause.**" in section and "**Remedy.**" in section


def test_no_page_is_named_for_an_error_that_does_not_exist() -> None:
    assert {kind.__name__ for kind in KINDS} == set(PAGES)


def test_a_kind_of_a_known_error_has_its_help() -> None:
    class Special(errors.StorageError):
        pass

    assert help_for(Special("x")) == f"{DOCUMENTATION}/{PAGES['StorageError']}"
    assert help_for(errors.PerdureError("x")) is None


def test_a_failing_command_prints_one_message_and_one_link(tmp_path: Path) -> None:
    lines = perdure("status", tmp_path / "none").stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("perdure: error: ") and "is not a folder" in lines[0]
    assert lines[1] == f"  see {DOCUMENTATION}/errors.md#usageerror"
    assert answer("status", tmp_path / "none", code=2)["help"] == f"{DOCUMENTATION}/errors.md#usageerror"
