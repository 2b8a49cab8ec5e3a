"""`perdure predict exoplanet FILE|DIR...`: look for planets with a trained network; resumable file by file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import perdure
from perdure.errors import DamagedError, UsageError
from perdure.pipelines.exoplanet import discovery, plots, reading
from perdure.pipelines.exoplanet.curves import CADENCE_DAYS
from perdure.pipelines.exoplanet.evaluation.calibration import Calibration
from perdure.pipelines.exoplanet.learning.network import Architecture, build
from perdure.pipelines.exoplanet.preparation.dips import find_dips
from perdure.pipelines.exoplanet.preparation.domain import Domain, describe
from perdure.pipelines.exoplanet.preparation.preprocess import Preprocessor
from perdure.pipelines.exoplanet.reading import Series, UnreadableError

_NEEDED = ("model.json", "preprocessor.json", "calibration.json", "weights.safetensors")
_MOST_PLOTS = 24  # of one file; a table of thousands of curves gets none


@dataclass(frozen=True, slots=True)
class Model:
    """A trained network's exports, verified; pickled to workers as the folder's name alone."""

    folder: Path
    digest: str

    @classmethod
    def of(cls, run: Path) -> Model:
        """The model that a run left. Raises UsageError without one, DamagedError when a file was changed."""
        folder = run / "exports"
        if not (folder / "manifest.json").exists():
            raise UsageError(
                f"{run} has no trained model; train one first with `perdure run exoplanet`, or name the run that has "
                "one with --run"
            )
        manifest = json.loads((folder / "manifest.json").read_text())
        for name in _NEEDED:
            found = (
                hashlib.sha256((folder / name).read_bytes()).hexdigest()
                if (folder / name).exists()
                else "missing"
            )
            if found != manifest["files"].get(name):
                raise DamagedError(
                    f"{folder / name} is not the file that training wrote (SHA-256 {found[:12]}, recorded "
                    f"{str(manifest['files'].get(name))[:12]}); `perdure run exoplanet --run {run}` writes it again"
                )
        digest = hashlib.sha256(
            json.dumps([manifest["files"][name] for name in _NEEDED]).encode()
        ).hexdigest()
        return cls(folder, digest)

    def __perdure_fingerprint__(self) -> str:
        return self.digest

    def document(self, name: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads((self.folder / name).read_text())
        return loaded

    def network(self) -> Any:
        """The network, built by this code and filled with the weights."""
        from safetensors.numpy import load_file

        network = build(Architecture.from_document(self.document("model.json")), seed=0)
        weights = load_file(self.folder / "weights.safetensors")
        network.set_weights([weights[name] for name in sorted(weights)])
        return network


def predict(inputs: Sequence[Path], *, run: Path, output: Path | None = None) -> tuple[int, dict[str, Any]]:
    """Predict for files and folders; returns the exit code and a JSON-able summary. Plots go to `exports/`."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    model = Model.of(run.absolute())
    entries = _entries(inputs)
    name = hashlib.sha256(json.dumps([model.digest, entries], sort_keys=True).encode()).hexdigest()[:12]
    place = output or Path.cwd() / "predictions" / name
    with perdure.open(place, config={"model": model.digest}, phases=("predict",)) as job:
        found = job.map(
            "predict", entries, partial(predict_file, model=model), workers=min(2, len(entries)), timeout="1h"
        )
        curves = [curve for file in found.values() for curve in file["curves"]]
        pictures = {
            name: content
            for file in found.values()
            for name, content in zip(file["names"], file["plots"], strict=True)
        }
        for name, content in pictures.items():
            job.export(name, content)
        job.export("predictions.json", (json.dumps(curves, indent=1) + "\n").encode())
        job.export("predictions.csv", _csv(curves))
        return job.exit_code, {
            "run": str(place), "curves": curves, "lines": [line for file in found.values() for line in _lines_of(file)],
            "plots": sorted(pictures), "failed": dict(found.failed), "exports": str(job.exports),
        }  # fmt: skip


def _entries(inputs: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The files to look at, by a short key; content decides how each is read."""
    entries: dict[str, dict[str, Any]] = {}
    for place in inputs:
        root = place if place.is_dir() else place.parent
        for entry in discovery.with_curves(discovery.discover(place)):
            key, path = entry["path"], str((root / entry["path"]).resolve())
            while key in entries and entries[key]["path"] != path:
                key = f"{root.name}/{key}"
            entries[key] = {"path": path, "layout": entry["layout"], "sha256": entry["sha256"]}
    return entries


def predict_file(entry: dict[str, Any], *, model: Model) -> dict[str, Any]:
    """Every curve of one file: probability, flags, dips; and a plot of each, if they are few.

    Raises UnreadableError for a file without a curve that the network can judge.
    """
    path, stem = Path(entry["path"]), Path(entry["path"]).stem
    preprocessor = Preprocessor.from_document(model.document("preprocessor.json"))
    stored = model.document("calibration.json")
    calibration, domain = Calibration(**stored["calibration"]), Domain.from_document(stored["domain"])
    found = reading.read(path, entry["layout"], length=preprocessor.length)
    flux = found.curves.flux
    prepared = preprocessor.apply(flux)
    probability = calibration.apply(_output(model, prepared))
    cadence = found.curves.columns.get("cadence_d", np.full(len(flux), np.nan))
    measures = describe(flux, prepared)
    series = [
        one
        for one in _series(path, entry["layout"], found.curves.star, flux)
        if one.star in found.curves.star
    ]
    refused = [reason for _, reason in found.rejected]
    if not series:
        raise UnreadableError(f"{path.name} holds no curve to judge: {(refused or ['it has no rows'])[0]}")
    curves, names, pictures = [], [], []
    for number, one in enumerate(series):
        rows = np.flatnonzero(found.curves.star == one.star)
        best = rows[int(np.argmax(probability[rows]))]
        dips = find_dips(one.time, one.flux) if _is_positive(one.flux) else []
        value, step = float(probability[best]), float(cadence[best])
        curves.append(
            {
                "file": path.name,
                "star": one.star,
                "probability": value,
                "planet": bool(value >= calibration.threshold),
                "threshold": calibration.threshold,
                "windows": len(rows),
                "outside_training": _flags(domain, measures, rows, step),
                "dips": [{"time": round(dip.time, 3), "depth_ppm": round(dip.depth_ppm)} for dip in dips],
                "time_unit": _time_unit(one),
            }
        )
        if len(series) <= _MOST_PLOTS:
            names.append(f"{stem}-{number}.png" if len(series) > 1 else f"{stem}.png")
            pictures.append(
                _picture(one, preprocessor, [dip.time for dip in dips], value, calibration.threshold)
            )
    return {"file": path.name, "curves": curves, "names": names, "plots": pictures, "refused": refused}


def _output(model: Model, prepared: np.ndarray) -> np.ndarray:
    if not len(prepared):
        return np.zeros(0)
    return np.asarray(model.network().predict(prepared, batch_size=256, verbose=0), np.float64).ravel()


def _series(path: Path, layout: str, star: np.ndarray, flux: np.ndarray) -> list[Series]:
    """Each star's series with its times; where a file has no times, days since the curve's first point."""
    try:
        return reading.read_series(path, layout)
    except UnreadableError:
        time = np.arange(flux.shape[1]) * CADENCE_DAYS
        return [Series(time, row, str(name), {}) for name, row in zip(star, flux, strict=True)]


def _is_positive(flux: np.ndarray) -> bool:
    """Whether depths relative to the star's light can be told: some files are centred on 0."""
    return bool(np.nanmin(flux, initial=np.inf) > 0)


def _flags(domain: Domain, measures: np.ndarray, rows: np.ndarray, cadence: float) -> list[str]:
    """Why the star's curves lie outside what training has seen."""
    known = cadence if np.isfinite(cadence) else None
    return list(dict.fromkeys(f for flags in domain.flags(measures[rows], cadence_d=known) for f in flags))


def _time_unit(series: Series) -> str:
    zero = series.facts.get("time_zero")
    return {2454833.0: "BKJD", 2457000.0: "BTJD"}.get(zero or 0.0, "days")


def _picture(
    series: Series, preprocessor: Preprocessor, dips: Sequence[float], probability: float, threshold: float
) -> bytes:
    detrended = replace(preprocessor, length=len(series.flux)).apply(series.flux[None])[0]
    return plots.prediction(
        series.time, series.flux, detrended, dip_times=dips, probability=probability, star=series.star,
        threshold=threshold, time_unit=_time_unit(series),
    )  # fmt: skip


def _lines_of(file: dict[str, Any]) -> list[str]:
    """A file's predictions for people, and what of it was not judged."""
    refused = file["refused"]
    more = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
    told = [f"{file['file']}: not judged: {refused[0]}{more}"] if refused else []
    return [line for curve in file["curves"] for line in _lines(curve)] + told


def _lines(curve: dict[str, Any]) -> list[str]:
    """A curve's prediction for people."""
    verdict = "planet candidate" if curve["planet"] else "no planet found"
    lines = [
        f"{curve['star']}  {curve['file']}  probability {curve['probability']:.3f}  {verdict} "
        f"(threshold {curve['threshold']:.3f})"
    ]
    if curve["dips"]:
        dips = ", ".join(f"{dip['time']:.3f} ({dip['depth_ppm']:,} ppm)" for dip in curve["dips"][:3])
        lines.append(f"    deepest dips, {curve['time_unit']}: {dips}")
    lines += [f"    unlike the training curves: {flag}" for flag in curve["outside_training"]]
    return lines


def _csv(curves: list[dict[str, Any]]) -> bytes:
    stream = io.StringIO()
    names = (
        "file",
        "star",
        "probability",
        "planet",
        "outside_training",
        "deepest_dip",
        "depth_ppm",
        "time_unit",
    )
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(names)
    for curve in curves:
        dip = curve["dips"][0] if curve["dips"] else {"time": "", "depth_ppm": ""}
        writer.writerow(
            [curve["file"], curve["star"], curve["probability"], curve["planet"], "; ".join(curve["outside_training"]),
             dip["time"], dip["depth_ppm"], curve["time_unit"]]
        )  # fmt: skip
    return stream.getvalue().encode()
