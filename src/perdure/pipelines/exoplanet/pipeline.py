"""Find transiting planets in light curves: seven phases, each resumable, from files to a tested network."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import perdure
from perdure.pipelines.exoplanet import loading
from perdure.pipelines.exoplanet.config import preset as preset_named
from perdure.pipelines.exoplanet.loading import DataFolder
from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor

PHASES = ("discover", "load", "split", "preprocess", "build", "train", "evaluate")


def main(preset: str, folder: Path, *, data: Path | None = None) -> int:
    """Run or resume the pipeline in `folder`; returns the exit code. `data` of None simulates curves."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    # Waiting threads that spin slow every other process down, and win nothing here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with perdure.open(folder, config=preset_named(preset), phases=PHASES) as run:
        config: Any = run.config
        seed = run.seed or 0

        # 1/7 discover
        if data is None:
            source, labels = None, {}
            manifest = run.step("discover", loading.plan_simulation, config["curves"])
        else:
            manifest = run.step("discover", loading.find_files, data.resolve())
            source = DataFolder(data.resolve())
            labels = loading.label_tables(manifest, source)

        # 2/7 load
        load = partial(
            loading.load, folder=source, length=config["length"], labels=labels, seed=seed,
            planet_share=config["planet_share"], difficulty=config["difficulty"],
        )  # fmt: skip
        readings = run.map("load", {e["path"]: e for e in loading.readable(manifest)}, load, timeout="30m")
        for line in not_taken(manifest, readings):
            print(line)

        # 3/7 split
        split = run.step("split", loading.assign_parts, readings, seed=seed)

        # 4/7 preprocess
        preprocessor = Preprocessor(length=config["length"]).document()
        prepare = partial(loading.prepare, readings=readings, preprocessor=preprocessor)
        prepared = run.map("preprocess", list(readings), prepare, timeout="30m")

        # From here on the frameworks are needed.
        from perdure.pipelines.exoplanet.evaluation.assessment import evaluate
        from perdure.pipelines.exoplanet.learning.network import describe
        from perdure.pipelines.exoplanet.learning.shards import DataSet
        from perdure.pipelines.exoplanet.learning.training import train
        from perdure.pipelines.exoplanet.report import publish

        # 5/7 build
        built = run.step("build", describe, config["network"], config["length"], seed=seed)

        # 6/7 train
        dataset = DataSet.of(readings, prepared, split["part"])
        model = train(run, built["architecture"], dataset)

        # 7/7 evaluate
        result = run.step(
            "evaluate", evaluate, built["architecture"], model.get_weights(), readings, prepared, split["part"],
            config=dict(config), preprocessor=preprocessor, seed=seed,
        )  # fmt: skip
        publish(run, model, built["architecture"], preprocessor, dataset, result, split)
        _tell(run, result)
        return run.exit_code


def not_taken(manifest: list[dict[str, Any]], readings: Mapping[str, Any]) -> list[str]:
    """Files that were refused and curves that were rejected, a line for each file with the first reason."""
    files = [f"{entry['path']}: not read: {entry['reason']}" for entry in manifest if entry.get("reason")]
    curves = [
        f"{path}: {len(rejected)} of {len(rejected) + len(one['flux'])} curves not taken; row {rejected[0][0]}: "
        f"{rejected[0][1]}"
        for path, one in readings.items()
        if (rejected := one["rejected"])
    ]
    return files + curves


def _tell(run: perdure.Run, result: dict[str, Any]) -> None:
    """The outcome in four lines."""
    auc = result["metrics"]["metrics"]["auc"]
    print(f"test AUC {auc['value']:.4f} (95% interval {auc['low']:.4f} to {auc['high']:.4f})")
    print(
        f"base rate {result['base_rate']['test']:.1%}; "
        f"box least squares reaches {result['baselines']['box_least_squares_auc']:.4f}"
    )
    if result["baselines"]["warning"]:
        print(f"warning: {result['baselines']['warning']}")
    print(f"report: {run.exports / 'report.html'}")
    print(f"plots:  {run.exports}")
