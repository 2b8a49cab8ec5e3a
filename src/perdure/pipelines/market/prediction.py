"""`perdure predict market`: forecasts by the champion of the registry that lies beside a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure import files
from perdure.errors import UsageError
from perdure.pipelines.market.deployment import prediction
from perdure.pipelines.market.deployment.registry import FILE

_SHOWN = 10  # of the highest and of the lowest


def predict(
    symbols: Sequence[str], *, run: Path, output: Path | None, asof: str | None
) -> tuple[int, dict[str, Any]]:
    """The exit code and a document: forecasts of the symbols (all for none), highest first, and lines that tell them.

    asof: "YYYY-MM-DD". output: a folder for forecasts.csv. Raises UsageError for a symbol without a forecast.
    """
    found = prediction.forecast(run.absolute().parent / FILE, asof=asof)
    known = {one["symbol"] for one in found["forecasts"]}
    unknown = sorted(set(symbols) - known)
    if unknown:
        raise UsageError(
            f"there is no forecast of {', '.join(unknown)} as of {found['asof']}; there are {', '.join(sorted(known))}"
        )
    if symbols:
        found["forecasts"] = [one for one in found["forecasts"] if one["symbol"] in symbols]
    exports = _written(found, output) if output is not None else None
    told = prediction.lines(found, top=None if symbols else _SHOWN)
    skipped = found["skipped"]
    return (3 if skipped else 0), found | {"lines": told, "failed": skipped, "exports": exports}


def _written(found: dict[str, Any], folder: Path) -> str:
    files.make_folder(folder)
    place = folder / "forecasts.csv"
    files.publish(place, [prediction.as_csv(found)], kind="export")
    return str(place)
