"""What a run leaves for people: results, plots, a model card, one HTML page, and what `predict` needs."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import perdure
from perdure.pipelines.exoplanet import plots
from perdure.pipelines.exoplanet.evaluation.recovery import RecoveryMap
from perdure.pipelines.exoplanet.learning.shards import DataSet, Rows

_TITLES = {
    "training_curves.png": "Training, all epochs; dotted lines mark interruptions",
    "roc.png": "ROC curve of the test part",
    "precision_recall.png": "Precision and recall of the test part",
    "confusion_matrix.png": "Confusion matrix at the threshold chosen on validation",
    "reliability.png": "Do probabilities mean what they say?",
    "recovery_map.png": "Injected planets that were found",
    "gallery.png": "Hits and misses",
    "saliency.png": "What the network looks at",
}


def publish(
    run: perdure.Run, model: Any, architecture: dict[str, Any], preprocessor: dict[str, Any], data: DataSet,
    result: dict[str, Any], split: dict[str, Any],
) -> None:  # fmt: skip
    """Write all exports, unless they are there already for this very result."""
    source = _source(architecture, preprocessor, result)
    if is_published(run.exports, source):
        return
    history = _table(run.history("train"))
    pictures = _pictures(run, data, result, history)
    documents = {
        "results.json": _json(_results(result, split)),
        "history.csv": _csv(history),
        "model.json": _json(architecture),
        "preprocessor.json": _json(preprocessor),
        "calibration.json": _json({"calibration": result["calibration"], "domain": result["domain"]}),
        "predictions.parquet": _predictions(result["test"]),
        "best.keras": _keras_file(model),
        "weights.safetensors": _weights(model),
    }
    card = _card(run, architecture, data, result, split)
    documents["model_card.md"] = card.encode()
    documents["report.html"] = _page(card, pictures).encode()
    for name, content in (documents | pictures).items():
        run.export(name, content)
    digests = {
        name: hashlib.sha256(content).hexdigest() for name, content in sorted((documents | pictures).items())
    }
    run.export(
        "manifest.json", _json({"format": 1, "pipeline": "exoplanet", "made_from": source, "files": digests})
    )


def is_published(exports: Path, source: str) -> bool:
    """Whether the manifest is of this result, and every file is as the manifest says."""
    try:
        manifest = json.loads((exports / "manifest.json").read_text())
        return bool(manifest["made_from"] == source) and all(
            hashlib.sha256((exports / name).read_bytes()).hexdigest() == digest
            for name, digest in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError):
        return False


def _source(architecture: dict[str, Any], preprocessor: dict[str, Any], result: dict[str, Any]) -> str:
    """Digest of what the exports are made from."""
    hasher = hashlib.sha256(_json([architecture, preprocessor, result["metrics"], result["calibration"]]))
    hasher.update(np.ascontiguousarray(result["test"]["probability"]).tobytes())
    return hasher.hexdigest()


def _table(entries: list[dict[str, Any]]) -> dict[str, list[Any]]:
    names = [name for name in entries[0] if name != "position"] if entries else []
    return {"epoch": [entry["position"] + 1 for entry in entries]} | {
        name: [entry.get(name) for entry in entries] for name in names
    }


def _pictures(
    run: perdure.Run, data: DataSet, result: dict[str, Any], history: dict[str, list[Any]]
) -> dict[str, bytes]:
    test, threshold = result["test"], result["calibration"]["threshold"]
    probability, label = np.asarray(test["probability"]), np.asarray(test["label"])
    curves = Rows(data.prepared, data.test).whole()
    columns = data.columns_of(data.test) | {"star": data.star[data.test]}
    found = RecoveryMap.from_document(result["recovery"])
    shown = result["saliency"]["row"]
    best = int(np.argmax(history["val_auc"])) + 1 if history.get("val_auc") else None
    return {
        "training_curves.png": plots.training_curves(history, interruptions=run.interruptions("train"), best=best),
        "roc.png": plots.roc(probability, label),
        "precision_recall.png": plots.precision_recall(probability, label),
        "confusion_matrix.png": plots.confusion_matrix(probability, label, threshold=threshold),
        "reliability.png": plots.reliability(probability, label),
        "recovery_map.png": plots.recovery_map(found),
        "gallery.png": plots.gallery(curves, probability, label, columns, threshold=threshold),
        "saliency.png": plots.saliency(
            curves[shown], np.asarray(result["saliency"]["fall"]), title=f"{columns['star'][shown]}"
        ),
    }  # fmt: skip


def _results(result: dict[str, Any], split: dict[str, Any]) -> dict[str, Any]:
    kept = {name: result[name] for name in result if name not in {"test", "saliency", "domain"}}
    return kept | {"split": {"counts": split["counts"], "quarantined": split["quarantined"]}}


def _card(
    run: perdure.Run,
    architecture: dict[str, Any],
    data: DataSet,
    result: dict[str, Any],
    split: dict[str, Any],
) -> str:
    document, rates = result["metrics"], result["base_rate"]
    sizes = f"{len(data.train):,} / {len(data.validation):,} / {len(data.test):,}"
    warning = result["baselines"]["warning"]
    lines = [
        "# Exoplanet network: model card",
        "",
        f"A {architecture['name']} CNN+LSTM on curves of {architecture['length']:,} points, preset "
        f"`{run.config['preset']}`, seed {run.seed}.",
        "",
        f"- Curves for training / validation / test: {sizes}, split by star; {split['quarantined']} in quarantine.",
        f"- Share of planets (base rate): {rates['train']:.1%} in training, {rates['test']:.1%} in the test part.",
        f"- Threshold {result['calibration']['threshold']:.3f}, chosen on validation.",
        f"- AUC by chance alone (95%): {result['null_auc'][0]:.3f} to {result['null_auc'][1]:.3f}.",
        "",
        "| metric (test part) | value | 95% interval over stars |",
        "|---|---|---|",
        *[_metric_line(name, entry) for name, entry in document["metrics"].items()],
        "",
        "| to compare with | AUC |",
        "|---|---|",
        f"| box least squares ({result['baselines']['box_least_squares_curves']} test curves) | "
        f"{result['baselines']['box_least_squares_auc']:.3f} |",
        f"| metadata alone (must stay below 0.6) | {result['baselines']['metadata_auc']:.3f} |",
        "",
    ]
    if warning:
        lines += [f"**Warning:** {warning}.", ""]
    lines += [
        "Trained on simulated or catalogue curves of one cadence; curves unlike these are flagged by `predict`.",
        "A probability is not a confirmation: eclipsing binaries and blends can look like planets.",
    ]
    return "\n".join(lines) + "\n"


def _metric_line(name: str, entry: dict[str, Any]) -> str:
    def show(value: float | None) -> str:
        return "undefined" if value is None else f"{value:.4f}"

    return f"| {name.replace('_', ' ')} | {show(entry['value'])} | {show(entry['low'])} to {show(entry['high'])} |"


_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "img{max-width:100%;height:auto}table{border-collapse:collapse;margin:1rem 0}"
    "td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:left}figure{margin:2rem 0}"
    "figcaption{color:#555}h1{font-size:1.6rem}.warning{color:#a00}"
)


def _page(card: str, pictures: Mapping[str, bytes]) -> str:
    """One self-contained HTML file: the card, then the plots."""
    figures = "".join(
        f'<figure><img alt="{html.escape(_TITLES[name])}" src="data:image/png;base64,'
        f'{base64.b64encode(content).decode()}"><figcaption>{html.escape(_TITLES[name])}</figcaption></figure>'
        for name, content in pictures.items()
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>Exoplanet run</title><style>{_STYLE}</style></head>'
        f"<body>{_markup(card)}{figures}</body></html>"
    )


def _markup(card: str) -> str:
    """The few forms that the card uses: a heading, lists, tables, paragraphs."""
    parts: list[str] = []
    for block in card.strip().split("\n\n"):
        lines = [html.escape(line).replace("`", "") for line in block.split("\n")]
        if lines[0].startswith("# "):
            parts.append(f"<h1>{lines[0][2:]}</h1>")
        elif lines[0].startswith("- "):
            parts.append("<ul>" + "".join(f"<li>{line[2:]}</li>" for line in lines) + "</ul>")
        elif lines[0].startswith("|"):
            parts.append(_html_table(lines))
        elif lines[0].startswith("**"):
            parts.append(f'<p class="warning">{" ".join(lines).replace("**", "")}</p>')
        else:
            parts.append(f"<p>{' '.join(lines)}</p>")
    return "".join(parts)


def _html_table(lines: list[str]) -> str:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    head = "".join(f"<th>{cell}</th>" for cell in rows[0])
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows[2:])
    return f"<table><tr>{head}</tr>{body}</table>"


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=1, sort_keys=True, allow_nan=True) + "\n").encode()


def _csv(table: dict[str, list[Any]]) -> bytes:
    lines = [",".join(table)]
    lines += [
        ",".join("" if v is None else repr(v) for v in row) for row in zip(*table.values(), strict=True)
    ]
    return ("\n".join(lines) + "\n").encode()


def _predictions(test: dict[str, Any]) -> bytes:
    import polars as pl

    frame = pl.DataFrame({name: np.asarray(values) for name, values in test.items()})
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return stream.getvalue()


def _keras_file(model: Any) -> bytes:
    """The network in Keras' own format, for other programs; perdure itself loads `weights.safetensors`."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "best.keras"
        model.save(path)
        return path.read_bytes()


def _weights(model: Any) -> bytes:
    from safetensors.numpy import save

    return save({f"{i:03d} {w.path}": np.asarray(w) for i, w in enumerate(model.weights)})
