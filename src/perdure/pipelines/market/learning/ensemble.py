"""The trained whole in one file: eight base models, the meta-learner, and what they were trained on.

A ZIP archive without compression or dates, so that equal ensembles have equal bytes: `manifest.json` and one file a
model, each in a format that cannot execute code.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from perdure.errors import FormatError
from perdure.pipelines.market.learning.meta import MetaLearner
from perdure.pipelines.market.models.catalogue import MODELS
from perdure.pipelines.market.models.training import Forecaster, chances

FORMAT = 1
_MANIFEST = "manifest.json"
_DATE = (1980, 1, 1, 0, 0, 0)  # the first that ZIP knows


@dataclass(frozen=True, slots=True)
class Ensemble:
    """manifest: features (names in order), feature_digest, trained_until, regimes, config, meta, digests."""

    manifest: Mapping[str, Any]
    models: Mapping[str, Forecaster]

    def logits(self, x: np.ndarray) -> np.ndarray:
        """(n, models) float64, of x (n, features) float32."""
        return np.column_stack([model.logit(x) for model in self.models.values()])

    def probabilities(self, x: np.ndarray, regime: np.ndarray) -> np.ndarray:
        """(n,) float64: chances that y = 1."""
        return MetaLearner.of(self.manifest["meta"]).probability(self.logits(x), regime)

    def base_probabilities(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """(n,) float64 by model."""
        return {name: chances(model.logit(x)) for name, model in self.models.items()}

    def contributions(self, x: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """By model: SHAP values (n, features + 1) and the outputs (n,) that they sum to; not for the network."""
        explained = ((name, model.contributions(x)) for name, model in self.models.items())
        return {name: found for name, found in explained if found is not None}

    @classmethod
    def read(cls, content: bytes) -> Self:
        """The ensemble of a file's bytes. Raises FormatError for anything else, or for damage."""
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                manifest = json.loads(archive.read(_MANIFEST))
                if manifest["format"] != FORMAT:
                    raise FormatError(
                        f"an ensemble of format {manifest['format']} cannot be read; this perdure reads {FORMAT}"
                    )
                parts = {name: archive.read(name) for name in manifest["digests"]}
        except (zipfile.BadZipFile, KeyError, ValueError, TypeError) as error:
            raise FormatError(f"this is not an ensemble of the market pipeline: {error}") from error
        for name, part in parts.items():
            if hashlib.sha256(part).hexdigest() != manifest["digests"][name]:
                raise FormatError(
                    f"the model {name!r} of the ensemble is damaged; use another copy of the file"
                )
        return cls(manifest, {name: MODELS[name].read(part) for name, part in parts.items()})


def write(models: Mapping[str, bytes], meta: MetaLearner, facts: Mapping[str, Any]) -> bytes:
    """The file of an ensemble; facts: what else its manifest says."""
    manifest = {
        **facts,
        "format": FORMAT,
        "meta": meta.document(),
        "digests": {name: hashlib.sha256(content).hexdigest() for name, content in models.items()},
    }
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        entry = json.dumps(manifest, indent=1).encode()
        for name, content in [(_MANIFEST, entry), *models.items()]:
            archive.writestr(zipfile.ZipInfo(name, _DATE), content)
    return sink.getvalue()
