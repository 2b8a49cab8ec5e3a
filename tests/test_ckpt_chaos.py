"""A crash tester that nobody here wrote agrees: no hard failure, no divergence, no lost work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from processes import SOURCE

ROOT = Path(__file__).resolve().parent.parent
MODES = "before,torn,term,unsynced"


@pytest.mark.crash
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("script", ["raw_loop.py", "keras_fit.py"])
def test_every_file_event_may_be_the_last(tmp_path: Path, script: str) -> None:
    chaos = shutil.which("ckpt-chaos") or str(Path(sys.executable).with_name("ckpt-chaos"))
    python, example = sys.executable, ROOT / "examples" / script
    command = [
        chaos, "run", "--modes", MODES, "--max-points", "120", "--grace", "20", "--timeout", "200",
        "--work", str(tmp_path / "work"),
        "--checkpoint-glob", "{out}/snapshots/*/*.safetensors", "--step-regex", r"generation (\d+)",
        "--result-cmd", f"{python} -m perdure digest {{out}}",
        "--fail-on", "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK,CONTROL_FAIL",
        "--", "sh", "-c", f"PERDURE_RUN={{out}} PERDURE_SAVE_ALWAYS=1 exec {python} {example}",
    ]  # fmt: skip
    named = {**os.environ, "PYTHONPATH": str(SOURCE), "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=tmp_path, env=named, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert "PASS" in done.stdout
