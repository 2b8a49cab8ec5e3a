"""Forecast stocks: from prices and events of 82 companies to a gated ensemble, in eight resumable phases."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import perdure
from perdure.pipelines.market.config import check
from perdure.pipelines.market.config import preset as preset_named
from perdure.settings import Settings, overridden

PHASES = ("quality", "backtest", "load", "base models", "meta-learner", "evaluate", "explain", "gate")


def main(
    preset: str,
    folder: Path,
    *,
    source: str = "synthetic",
    pace: float = 0.0,
    timeout: float = 600.0,
    leak: bool = False,
) -> int:
    """Run or resume the pipeline in `folder`; returns the exit code.

    source: "synthetic", "csv:DIR", "yfinance", ... pace: seconds that each symbol waits, so that people can watch.
    timeout: seconds after which a symbol that has not come to an end is given up. leak: plant a look at the future,
    which the gate must notice.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    # Waiting threads that spin slow every other process down, and win nothing here.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    config = preset_named(preset) | {"source": source, "leak": leak}
    asked = _asked(overridden(config, Settings.from_environment().changes), cache=folder / "cache")
    with perdure.open(folder, config=config, phases=PHASES) as run:
        from perdure.pipelines.market.features import catalogue
        from perdure.pipelines.market.learning import matrix as samples
        from perdure.pipelines.market.learning.course import base_models, combine
        from perdure.pipelines.market.learning.folds import forward_folds
        from perdure.pipelines.market.samples import symbols

        settings: Any = dict(run.config)
        registry = _registry(run)
        place = symbols.Place(run.folder / "cache", pace, symbols.state(settings["source"]))
        unit = partial(
            symbols.unit, source=settings["source"], files=symbols.files_of(settings["source"]), settings=settings,
            place=place,
        )  # fmt: skip

        # 1/8 quality, 2/8 backtest
        run.map("quality", asked, partial(unit, symbols.inspect), into="quality", data=True, timeout=timeout)
        done = run.map(
            "backtest", asked, partial(unit, symbols.backtest), into="samples", data=True, timeout=timeout
        )
        symbols.require_unchanged(settings["source"], place)

        # 3/8 load
        table = samples.SampleTable(run.folder / "run.db")
        matrix = samples.Matrix.of(run.step("load", samples.load, table, done, features=catalogue.names()))

        # 4/8 base models
        folds = forward_folds(
            matrix.day, matrix.t1, first_share=settings["first_share"], lockbox_share=settings["lockbox_share"],
            embargo=settings["embargo"],
        )  # fmt: skip
        base = base_models(run, matrix, folds)

        # 5/8 meta-learner
        names, digest = list(catalogue.names()), catalogue.digest()
        facts = {"features": names, "feature_digest": digest, "config": settings}
        combined = run.step("meta-learner", combine, matrix, folds, base, facts=facts)

        _judge(run, matrix, folds, combined, unit, asked, registry)
        return run.exit_code


def _asked(settings: dict[str, Any], *, cache: Path) -> dict[str, Any]:
    """The companies, once the settings are sound: found out before the run begins, for one that has begun with other
    settings takes no better ones. Raises UsageError."""
    from perdure.pipelines.market.samples import symbols

    check(settings)
    return symbols.asked(str(settings["source"]), settings, cache=cache)


def _registry(run: perdure.Run) -> Any:
    """What the gate is to enter the model in; asked at once whether it takes one. Raises StorageError, LockedError."""
    from perdure.pipelines.market.deployment.registry import FILE
    from perdure.pipelines.market.forecasting import RegistryFile

    registry = RegistryFile(run.folder.parent / FILE, run.folder.name)
    registry.require()
    return registry


def _judge(
    run: perdure.Run, matrix: Any, folds: Any, combined: dict[str, Any], unit: Any, asked: dict[str, Any],
    registry: Any,
) -> None:  # fmt: skip
    """Phases 6 to 8, and what people get to see. unit: what a worker does with a company of the run's source."""
    from perdure.pipelines.market import forecasting
    from perdure.pipelines.market.outputs import publish, tell
    from perdure.pipelines.market.samples import symbols

    settings: Any = dict(run.config)
    seed = run.seed or 0

    # 6/8 evaluate
    result = run.step(
        "evaluate", forecasting.evaluate, matrix, folds, combined, registry=registry, seed=seed,
        resamples=settings["resamples"], horizon=settings["horizon"], stride=settings["stride"],
    )  # fmt: skip

    # 7/8 explain
    explained = run.step(
        "explain", forecasting.explain, matrix, folds[-1], combined, count=settings["explained"]
    )

    # 8/8 gate
    verdict = run.step(
        "gate", forecasting.judge, matrix, combined, result, unit=partial(unit, symbols.truncated),
        last=partial(unit, symbols.last_session), asked=asked, registry=registry, config=settings, seed=seed,
    )  # fmt: skip

    publish(run, matrix, combined, result, explained, verdict)
    tell(run, result, verdict)
