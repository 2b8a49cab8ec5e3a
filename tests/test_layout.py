"""The package's shape: what an import loads, what is public, and that dependencies point down."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import perdure
from processes import SOURCE

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("numpy", "keras", "torch", "jax", "tensorflow", "polars", "pyarrow", "pandas", "sqlite3", "psutil")


def test_importing_perdure_loads_no_framework_and_changes_nothing() -> None:
    code = (
        "import sys, signal, os; before = (signal.getsignal(2), sys.excepthook, dict(os.environ), sys.stdout)\n"
        "import perdure\n"
        "assert before == (signal.getsignal(2), sys.excepthook, dict(os.environ), sys.stdout)\n"
        f"print([name for name in {HEAVY[:6]} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True
    )
    assert done.stdout == "[]\n", done.stderr + done.stdout


def test_public_names_are_sorted_there_and_few() -> None:
    assert list(perdure.__all__) == sorted(perdure.__all__, key=lambda name: (name.islower(), name))
    assert len(perdure.__all__) <= 12
    assert all(hasattr(perdure, name) for name in perdure.__all__)


def test_dependencies_point_down() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    if not tool.exists():
        pytest.skip("import-linter is not installed")
    done = subprocess.run([tool, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_nothing_stored_can_execute_code() -> None:
    """Pickle occurs between processes of our own only."""
    for path in sorted((SOURCE / "perdure").rglob("*.py")):
        text = path.read_text()
        if path.name != "message.py":
            assert not re.search(
                r"^\s*(import|from) (pickle|joblib|shelve|marshal|dill|cloudpickle)", text, re.M
            ), path
        assert "allow_pickle=True" not in text and "weights_only=False" not in text, path


def test_durable_files_are_written_in_few_places() -> None:
    """`files.publish`, SQLite, the log and its kin; anything else would not be synced."""
    found = {
        str(path.relative_to(SOURCE / "perdure"))
        for path in (SOURCE / "perdure").rglob("*.py")
        if "pipelines" not in path.parts
        and re.search(
            r"\.(write_bytes|write_text)\(|\.open\(\"[wax]|os\.open\([^)]*O_WRONLY", path.read_text()
        )
    }
    known = {"console.py", "files.py", "seams.py", "settings.py", "store/database.py"}
    assert {
        name for name in found - known if not name.startswith(("cli/", "dashboard/", "prove/", "keras"))
    } == set()
