"""docs/mistakes.md is what making the mistakes gives: one clear answer and the right exit code each."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from perdure import errors

DOCS = Path(__file__).resolve().parents[1] / "docs"
CODES = {
    kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")
}


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_mistakes", DOCS / "generate_mistakes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look there for their annotations
    spec.loader.exec_module(module)
    return module


GENERATOR = generator()
KNOWN = GENERATOR._rows((DOCS / "mistakes.md").read_text(encoding="utf-8"))
OFTEN = ("no such folder", "config was edited")


def made(word: str) -> list[tuple[str, str | None, str | None]]:
    """Mistakes that have the word: what it is, what making it gives, and what the page says."""
    chosen = [one for one in GENERATOR.MISTAKES if word in one.what]
    return [(one.what, GENERATOR._made(one, KNOWN), KNOWN.get(one.what)) for one in chosen]


@pytest.mark.parametrize("word", OFTEN)
def test_the_page_says_what_making_a_mistake_gives(word: str) -> None:
    assert made(word)
    assert [(now, page) for _, now, page in made(word) if now != page] == []


@pytest.mark.crash
def test_the_page_says_what_making_each_mistake_gives() -> None:
    assert [(now, page) for _, now, page in made("") if now != page] == []


def test_every_mistake_is_on_the_page_and_nothing_else() -> None:
    assert list(KNOWN) == [one.what for one in GENERATOR.MISTAKES]


@pytest.mark.parametrize("line", KNOWN.values(), ids=KNOWN.keys())
def test_an_answer_has_the_exit_code_of_an_error_and_no_trace_of_the_machine(line: str) -> None:
    _, code, answer = line.strip("| ").split(" | ", 2)
    assert int(code) in CODES
    assert not re.search(r"Traceback|/tmp|/home|/work|object at 0x|\d{4}-\d\d-\d\d", answer)
    assert len(answer) > 30


def test_all_kinds_of_errors_that_a_person_can_cause_are_on_the_page() -> None:
    found = {int(line.split(" | ")[1]) for line in KNOWN.values()}
    assert found == {1, 2, 73, 74, 75}
