"""The presets: every setting that results depend on. `--set name=value` changes one."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from perdure.errors import UsageError
from perdure.pipelines.market.deployment import gate
from perdure.pipelines.market.deployment.gate import Thresholds

_FULL: dict[str, Any] = {
    # what is forecast
    "sectors": 11,
    "per_sector": 0,  # symbols of each sector; 0 takes all
    "sessions": 2520,  # the newest, ten years
    "burn_in": 273,  # sessions that the longest feature needs
    "horizon": 10,  # sessions until a trade ends by itself
    "stride": 3,  # sessions between two samples; 746 on the common grid
    "least": 200,  # of a symbol; fewer are set aside
    "target": "sector",  # the sign of the return beyond the sector's; or "absolute"
    # the made market, where there is no --source
    "kappa": 0.08,  # strength of what can be forecast; 0 is a market without memory
    "market_seed": 7,
    "dirt": True,  # late listings, splits, missing and damaged rows, as real data has
    # folds
    "first_share": 0.35,  # of the development sessions, before the first block
    "lockbox_share": 0.20,  # newest sessions, for the final test only
    "embargo": 10,  # sessions between training labels and a block
    # models
    "rounds": 300,
    "chunk": 50,
    "trees": 300,
    "epochs": 20,
    "threads": 2,
    # evaluation
    "resamples": 500,
    "explained": 500,  # newest samples whose forecasts are explained
    "gate": asdict(Thresholds()) | {"advisory": []},  # `--set gate.auc=0.52` changes a threshold
    "leak": False,  # plants a look at the future into the features, to see that the gate notices
}
PRESETS: dict[str, dict[str, Any]] = {
    "full": _FULL,
    "quick": {
        **_FULL, "per_sector": 2, "rounds": 60, "chunk": 20, "trees": 40, "epochs": 5, "resamples": 200,
        "explained": 300,
    },
    "tiny": {
        **_FULL, "sectors": 2, "per_sector": 2, "sessions": 800, "stride": 4, "least": 40, "rounds": 6,
        "chunk": 2, "trees": 6, "epochs": 2, "resamples": 20, "explained": 20,
    },
}  # fmt: skip


def preset(name: str) -> dict[str, Any]:
    """A copy of a preset's settings. Raises UsageError for an unknown name."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}; there are {', '.join(PRESETS)}")
    return {"preset": name, **copy.deepcopy(PRESETS[name])}


_MAY_BE_ZERO = {"per_sector", "market_seed", "embargo", "burn_in"}
_MOST = {
    "threads": 256,
    "sessions": 100_000,
}  # beyond, a library or the memory gives way, and says nothing of it
_TARGETS = ("sector", "absolute")


def check(config: Mapping[str, Any]) -> None:
    """Raises UsageError for a setting of another kind, or one that is out of range; it names it.

    So it does for a threshold of the gate that is none.
    """
    for name, usual in _FULL.items():
        given = config[name]
        is_number = isinstance(given, int | float) and not isinstance(given, bool)
        if isinstance(usual, bool | str | dict):
            fits, wanted = isinstance(given, type(usual)), f"like {usual!r}"
        elif isinstance(usual, int):
            least, most = int(name not in _MAY_BE_ZERO), _MOST.get(name)
            fits = is_number and isinstance(given, int) and given >= least and (most is None or given <= most)
            wanted = f"a whole number of at least {least}" + ("" if most is None else f", and at most {most}")
        else:
            fits, wanted = is_number and 0 <= given < 1, "a number from 0 to below 1"
        if not fits:
            raise UsageError(f"the setting {name} is {given!r}; it must be {wanted}")
    if config["target"] not in _TARGETS:
        raise UsageError(
            f"the setting target is {config['target']!r}; it must be one of {', '.join(_TARGETS)}"
        )
    gate.judge(gate.Evidence(), Thresholds.of(config["gate"]))  # better refused now than after the training
