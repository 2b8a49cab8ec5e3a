"""The presets: every setting that results depend on. `--set name=value` changes one."""

from __future__ import annotations

from typing import Any

from perdure.errors import UsageError

_FULL: dict[str, Any] = {
    "curves": 32_384,  # simulated stars, where there is no --data
    "planet_share": 0.1,  # of the simulated stars; nature's share is lower still, and the report states it
    "difficulty": "medium",  # of the simulated planets
    "length": 3197,  # points of a curve
    "network": "full",
    "epochs": 100,
    "batch_size": 64,
    "peak_rate": 0.001,
    "warmup_epochs": 2,
    "patience": 15,  # epochs without a better validation AUC
    "shown_share": 0.3,  # of planets in what an epoch shows; corrected for afterwards
    "augment": True,
    "recovery_per_cell": 20,  # injected planets in each cell of the recovery map
}
PRESETS: dict[str, dict[str, Any]] = {
    "full": _FULL,
    "small": {
        **_FULL, "curves": 2_400, "planet_share": 0.25, "difficulty": "easy", "network": "small", "epochs": 12,
        "peak_rate": 0.003, "patience": 6, "recovery_per_cell": 8,
    },
    "tiny": {
        **_FULL, "curves": 240, "planet_share": 0.4, "difficulty": "easy", "length": 512, "network": "tiny",
        "epochs": 3, "batch_size": 16, "peak_rate": 0.003, "warmup_epochs": 1, "recovery_per_cell": 2,
    },
}  # fmt: skip


def preset(name: str) -> dict[str, Any]:
    """A copy of a preset's settings. Raises UsageError for an unknown name."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return {"preset": name, **PRESETS[name]}
