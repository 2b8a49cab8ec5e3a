"""A program: verify the run at PERDURE_RUN, after a repair where SWEEP_REPAIR is set; prints the findings as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

from perdure.clock import SystemClock
from perdure.repair import examine, repair
from perdure.store.database import Reader

folder = Path(os.environ["PERDURE_RUN"])
if os.environ.get("SWEEP_REPAIR"):
    repair(folder, clock=SystemClock())
reader = Reader(folder / "run.db")
checked = examine(folder, reader)
reader.close()
left = [f"{found.kind}: {found.subject} {found.problem}" for found in checked.findings]
left += [f"leftover: {path.relative_to(folder)}" for path in checked.leftovers]
print(json.dumps(left))
