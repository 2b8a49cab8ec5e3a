"""What threads of ours ask for is there before they start."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["discovery", "preparation.preprocess", "preparation.twins"])
def test_no_thread_is_the_first_to_ask_for_masked_arrays(module: str) -> None:
    """NumPy imports them at the first `np.ma`, and fails with a RecursionError where two threads are the first."""
    code = f"import perdure.pipelines.exoplanet.{module}, sys; sys.exit('numpy.ma' not in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
