"""What a run leaves for people: results, forecasts, plots, the ensemble and one HTML page."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

import perdure
from perdure.pipelines.market.evaluation import plots, portfolio
from perdure.pipelines.market.evaluation.assessment import META
from perdure.pipelines.market.evaluation.report.document import report
from perdure.pipelines.market.features import catalogue
from perdure.pipelines.market.forecasting import forecasts_of
from perdure.pipelines.market.learning.matrix import Matrix

_MANIFEST = "manifest.json"
_EXPLAINED = "lightgbm"  # the model whose single forecasts are drawn


def publish(
    run: perdure.Run, matrix: Matrix, combined: Mapping[str, Any], result: Mapping[str, Any],
    explained: Mapping[str, Any], verdict: Mapping[str, Any],
) -> None:  # fmt: skip
    """Write all exports, unless they are there already for this very result."""
    results = {
        **result, "explanation": {name: explained[name] for name in ("summary", "additivity", "not_explained")},
        "gate": {name: verdict[name] for name in ("checks", "passed", "version")},
    }  # fmt: skip
    source = hashlib.sha256(_json(results)).hexdigest()
    if _is_published(run, source):
        return
    pictures = _pictures(run.config, matrix, combined, result, explained)
    context = {"title": f"Market forecasts: {run.folder.name}", **dict(run.config), "seed": run.seed}
    documents = {
        "results.json": _json(results),
        "forecasts.parquet": _forecasts(matrix, combined),
        "ensemble.zip": combined["ensemble"],
        "report.html": report(result["assessment"], verdict["checks"], pictures, context),
        **{f"{name}.png": content for name, content in pictures.items()},
    }
    for name, content in documents.items():
        run.export(name, content)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(documents.items())}
    run.export(_MANIFEST, _json({"format": 1, "pipeline": "market", "made_from": source, "files": digests}))


def tell(run: perdure.Run, result: Mapping[str, Any], verdict: Mapping[str, Any]) -> None:
    """The outcome in some lines."""
    found = result["assessment"]
    auc, net = found["overall"]["auc"], found["portfolio"]["net_per_year"]
    print(f"forward AUC {_figure(auc)}, base rate {found['overall']['base_rate']:.1%}")
    if found["oracle"] is not None:
        print(f"best possible AUC of this made market: {found['oracle']['auc']['value']:.4f}")
    print(f"long-short after costs: {net:.1%} a year" if net is not None else "no portfolio could be formed")
    print(verdict["table"])
    print(f"report and plots: {run.exports}")


def _figure(entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return "undefined"
    return f"{entry['value']:.4f} (95% interval {entry['low']:.4f} to {entry['high']:.4f})"


def _is_published(run: perdure.Run, source: str) -> bool:
    """Whether the manifest is of this result, and every file is as the manifest says."""
    try:
        manifest = json.loads((run.exports / _MANIFEST).read_text())
        return bool(manifest["made_from"] == source) and all(
            hashlib.sha256((run.exports / name).read_bytes()).hexdigest() == digest
            for name, digest in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def _pictures(
    config: Mapping[str, Any], matrix: Matrix, combined: Mapping[str, Any], result: Mapping[str, Any],
    explained: Mapping[str, Any],
) -> dict[str, bytes]:  # fmt: skip
    """PNG by name."""
    found = result["assessment"]
    forward = forecasts_of(matrix, combined).forward
    held = portfolio.book(forward, horizon=config["horizon"], stride=config["stride"])
    names, values = catalogue.names(), matrix.x[explained["rows"]]
    shares = explained["contributions"][_EXPLAINED]
    surest = int(np.argmax(np.abs(shares.sum(axis=1))))
    row = explained["rows"][surest]
    heading = f"{matrix.symbols[matrix.symbol[row]]} on {matrix.day[row]} ({_EXPLAINED})"
    return {
        "reliability": plots.reliability(forward.probability, forward.y),
        "roc": plots.roc({META: forward.probability, **forward.base}, forward.y),
        "blocks": plots.blocks(found["models"]),
        "equity": plots.equity(held, trials=found["trials"]),
        "regimes": plots.regimes(found["by_regime"]),
        "importance": plots.importance(explained["summary"]["features"]),
        "swarm": plots.swarm(shares[:, :-1], values, names, title=f"What each feature adds ({_EXPLAINED})"),
        "waterfall": plots.waterfall(shares[surest], values[surest], names, title=heading),
    }


def _forecasts(matrix: Matrix, combined: Mapping[str, Any]) -> bytes:
    """Every out-of-sample forecast, as Parquet."""
    found = forecasts_of(matrix, combined)
    columns = {
        name: getattr(found, name)
        for name in ("day", "symbol", "sector", "regime", "block", "y", "ret", "excess", "probability")
    }
    sink = io.BytesIO()
    pl.DataFrame(columns | dict(found.base)).write_parquet(sink)
    return sink.getvalue()


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, indent=1, allow_nan=False).encode()
