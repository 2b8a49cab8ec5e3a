"""What the registry holds: trials, versions of the model, verdicts of the gate, deployments."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perdure import files
from perdure.errors import DamagedError


@dataclass(frozen=True, slots=True)
class Trial:
    """A model that was trained and evaluated; how many there were deflates the best one's Sharpe ratio."""

    name: str
    digest: str
    run: str
    config: dict[str, Any]
    metrics: dict[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A stored ensemble. digest: SHA-256 of its file; trained_until: "YYYY-MM-DD"; created_at: seconds since 1970."""

    name: str
    version: int
    digest: str
    path: Path
    feature_digest: str
    trained_until: str
    run: str
    metrics: dict[str, Any]
    created_at: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A check of the gate as it was recorded; verdict: passed, warned or failed."""

    check: str
    verdict: str
    value: float | None
    threshold: float | None
    text: str
    against: int | None
    at: float


@dataclass(frozen=True, slots=True)
class Deployment:
    """A promotion or a rollback. replaced: the version that was champion before it."""

    number: int
    name: str
    action: str
    version: int
    replaced: int | None
    who: str
    at: float
    reason: str | None
    forced: bool


def content(model: ModelVersion) -> bytes:
    """The bytes of a stored ensemble, as they were added. Raises DamagedError when they are not."""
    try:
        found = model.path.read_bytes()
    except FileNotFoundError as error:
        raise DamagedError(
            f"version {model.version} of {model.name} lost its file {model.path}; put it back, or roll back"
        ) from error
    except OSError as error:
        raise files.storage_error(error, model.path) from error
    if hashlib.sha256(found).hexdigest() != model.digest:
        raise DamagedError(
            f"{model.path} is not what was stored as version {model.version} of {model.name} (its digest differs); "
            "put the file back, or roll back"
        )
    return found


def as_text(document: Mapping[str, Any]) -> str:
    """JSON; a number that is not finite becomes null, which every reader of JSON understands."""
    return json.dumps(_plain(document), sort_keys=True, allow_nan=False)


def finite(value: float | None) -> float | None:
    """A number, or None for one that is missing or not finite."""
    return float(value) if value is not None and math.isfinite(value) else None


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if hasattr(value, "tolist"):  # a number or an array of NumPy
        return _plain(value.tolist())
    return finite(value) if isinstance(value, float) else value
