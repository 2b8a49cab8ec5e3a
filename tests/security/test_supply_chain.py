"""The lock of the development environment: exact versions, digests, and nothing of the machine that wrote it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PIN = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]* \\\n    --hash=sha256:[0-9a-f]{64}\n")


def lock() -> str:
    text = (ROOT / "requirements" / "dev.txt").read_text()
    return "".join(line + "\n" for line in text.splitlines() if not line.startswith("#"))


def test_the_lock_holds_exact_versions_with_digests_and_nothing_else() -> None:
    assert re.sub(PIN, "", lock()) == ""
    assert len(PIN.findall(lock())) > 100


def test_the_lock_has_all_that_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [
        *project["dependencies"],
        *extras["dev"],
        *extras["keras"],
        *extras["market"],
        *extras["exoplanet"],
    ]
    wanted = [Requirement(line) for line in lines]
    pinned = dict(re.findall(r"^([^=]+)==(\S+)", lock(), re.MULTILINE))
    for one in wanted:
        if one.name != "perdure" and (one.marker is None or one.marker.evaluate({"extra": ""})):
            assert one.specifier.contains(pinned[canonicalize_name(one.name)]), one
