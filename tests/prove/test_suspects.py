"""The usual causes are found in a script's text, and what is in order is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from perdure.prove.suspects import suspects

HEAD = """
import os, random, time
import numpy as np
from datetime import datetime
import perdure
def f(run, w, state): pass
"""


def found(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    script = tmp_path / "script.py"
    script.write_text(HEAD + text)
    return [(one.kind, one.code) for one in suspects(script)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = time.time()", ("time", "time.time()")),
        ("from time import time as now\nx = now()", ("time", "now()")),
        ("x = datetime.now()", ("time", "datetime.now()")),
        ("g = np.random.default_rng()", ("random", "np.random.default_rng()")),
        ("g = np.random.default_rng(None)", ("random", "np.random.default_rng(...)")),
        ("g = random.Random()", ("random", "random.Random()")),
        ("x = os.urandom(8)", ("random", "os.urandom(...)")),
        ("for x in {'a', 'b'}: pass", ("hash", "{'a', 'b'}")),
        ("names = set('ab')\nx = [n for n in names]", ("hash", "names")),
        ("x = list(set('ab'))", ("hash", "set('ab')")),
        ("x = hash('a')", ("hash", "hash(...)")),
        ("x = os.listdir('.')", ("files", "os.listdir(...)")),
    ],
)
def test_a_usual_cause_is_found(tmp_path: Path, text: str, expected: tuple[str, str]) -> None:
    assert expected in found(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "g = np.random.default_rng(3)",
        "for x in sorted({'a', 'b'}): pass",
        "x = 'a' in {'a', 'b'}",
        "names = set('ab')\nx = len(names)",
    ],
)
def test_what_is_in_order_is_no_suspect(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []


LOOP = """
with perdure.open("runs/x") as run:
    w, total, best, names, seen = np.zeros(3), 0.0, None, [], {{}}
    draws = np.random.default_rng(5)
    state = {{"w": w, "seen": seen}}
    for epoch in run.range("epoch", 3, state={state}):
        {body}
"""


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ("total += 1", "total"),
        ("total = total + 1", "total"),
        ("best = epoch if best is None else best", "best"),
        ("names.append(epoch)", "names"),
        ("x = draws.normal()", "draws"),
        ("w = w + 1", "w"),
        ("x, w = 1, np.ones(3)", "w"),
        ("w[:] = w + 1", None),
        ("fresh = 0; fresh += 1", None),
        ("w += 1", None),
        ("seen['a'] = 1", None),
        ("total = float(epoch)", None),
    ],
)
@pytest.mark.parametrize("state", ["state", "{'w': w, 'seen': seen}"])
def test_a_variable_that_one_iteration_hands_to_the_next_is_found(
    tmp_path: Path, body: str, name: str | None, state: str
) -> None:
    expected = [] if name is None else [("local", name)]
    assert found(tmp_path, LOOP.format(body=body, state=state)) == expected


def test_modules_of_the_project_are_read_too_and_likely_kinds_come_first(tmp_path: Path) -> None:
    (tmp_path / "noise.py").write_text("import os\ndef noise():\n    return os.urandom(4)\n")
    script = tmp_path / "script.py"
    (tmp_path / "broken.py").write_text("this is not Python")
    script.write_text("import time\nimport noise\nimport broken\nx = time.time()\n")
    kinds = [one.kind for one in suspects(script, likely=["random", "time"])]
    assert kinds == ["random", "time"]
    assert str(suspects(script, likely=["random"])[0]).startswith("noise.py:3: os.urandom(...)")
