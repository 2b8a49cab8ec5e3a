"""Phases 1 to 4: find, read, split and prepare light curves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.exoplanet import discovery, reading, simulator
from perdure.pipelines.exoplanet.learning.shards import shared_columns
from perdure.pipelines.exoplanet.preparation import domain
from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor
from perdure.pipelines.exoplanet.preparation.split import QUARANTINED, split

SIMULATED = "simulated"
_SHARD = 2_024  # simulated curves of one unit: 16 of them make the full preset
_MOST_REJECTED = 0.2  # share of rows; with more, something is wrong with the data as a whole


@dataclass(frozen=True, slots=True)
class DataFolder:
    """Where the data lies. Its content is fingerprinted by the manifest's digests, so that it may be moved."""

    path: Path

    def __perdure_fingerprint__(self) -> str:
        return "the files of the manifest"


def find_files(place: Path) -> list[dict[str, Any]]:
    """The manifest of a data folder. Refuses one that holds nothing to train on, and says what to do with it."""
    manifest = discovery.discover(place)
    usable = discovery.with_curves(manifest)
    tables = len(manifest) > len(usable) and any(e["layout"] for e in manifest if e not in usable)
    labelled = sum(
        count for entry in usable for label, count in entry["labels"].items() if label in {"0", "1"}
    )
    if not labelled and not tables:
        curves = len(usable)
        raise UsageError(
            f"{place} holds {curves} file{'s' * (curves != 1)} of light curves and no labels, so there is nothing to "
            f"train on. To look for planets in them with a trained model: perdure predict exoplanet {place}"
        )
    return manifest


def plan_simulation(curves: int) -> list[dict[str, Any]]:
    """The manifest of a simulation: a unit for each block of stars."""
    if curves < 1:
        raise UsageError(f"curves={curves} is not possible; simulate one or more")
    starts = range(0, curves, min(_SHARD, max(1, -(-curves // 2))))
    return [
        {
            "path": f"stars-{start:06d}",
            "layout": SIMULATED,
            "first": start,
            "stop": min(start + starts.step, curves),
        }
        for start in starts
    ]


def load(
    entry: dict[str, Any], *, folder: DataFolder | None, length: int, labels: dict[str, int], seed: int,
    planet_share: float, difficulty: str,
) -> dict[str, Any]:  # fmt: skip
    """Curves of one unit: flux (n, length) float32, label, star, columns, and the rows that were rejected."""
    rejected: tuple[tuple[int, str], ...] = ()
    if entry["layout"] == SIMULATED:
        stars = range(entry["first"], entry["stop"])
        curves = simulator.simulate(
            seed, stars, planet_share=planet_share, difficulty=difficulty, length=length
        )
    else:
        assert folder is not None
        root = folder.path if folder.path.is_dir() else folder.path.parent
        found = reading.read(root / entry["path"], entry["layout"], length=length, labels=labels)
        curves, rejected = found.curves, found.rejected
    return {
        "flux": curves.flux, "label": curves.label, "star": curves.star, "columns": curves.columns,
        "rejected": [list(row) for row in rejected],
    }  # fmt: skip


def readable(manifest: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of a manifest that `load` takes."""
    return [e for e in manifest if e["layout"] == SIMULATED] or discovery.with_curves(manifest)


def label_tables(manifest: list[dict[str, Any]], folder: DataFolder) -> dict[str, int]:
    """Labels by star from the tables of labels that lie among the data."""
    usable = discovery.with_curves(manifest)
    labels: dict[str, int] = {}
    for entry in manifest:
        if entry["layout"] is not None and entry not in usable:
            labels |= reading.read_labels(folder.path / entry["path"], entry["layout"])
    return labels


def assign_parts(readings: Mapping[str, Any], *, seed: int) -> dict[str, Any]:
    """Part of each curve (0 train, 1 validation, 2 test, -1 quarantined), and what the split noticed."""
    loaded = list(readings.values())
    _check_rejected(loaded)
    columns = shared_columns([one["columns"] for one in loaded])
    result = split(
        [one["flux"] for one in loaded], np.concatenate([one["star"] for one in loaded]),
        np.concatenate([one["label"] for one in loaded]), seed=seed, kind=columns.get("kind"),
        part=columns.get("part"), threads=2,
    )  # fmt: skip
    return {
        "part": result.part,
        "counts": result.counts(),
        "findings": [asdict(finding) for finding in result.findings[:1000]],
        "quarantined": int((result.part == QUARANTINED).sum()),
    }


def _check_rejected(loaded: list[dict[str, Any]]) -> None:
    rejected = [reason for one in loaded for _, reason in one["rejected"]]
    rows = sum(len(one["flux"]) for one in loaded) + len(rejected)
    if not loaded or len(rejected) > _MOST_REJECTED * rows:
        examples = "; ".join(dict.fromkeys(rejected[:5])) or "no file could be read"
        raise UsageError(
            f"{len(rejected)} of {rows} curves were rejected, more than {_MOST_REJECTED:.0%}: {examples}. "
            "Repair the data, or take out the files that are at fault"
        )


def prepare(key: str, *, readings: Mapping[str, Any], preprocessor: dict[str, Any]) -> dict[str, np.ndarray]:
    """Prepared curves (n, length) of one unit, and the measures that tell its domain."""
    flux = readings[key]["flux"]
    curves = Preprocessor.from_document(preprocessor).apply(flux)
    return {"curves": curves, "measures": domain.describe(flux, curves)}
