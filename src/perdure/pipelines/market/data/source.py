"""The source that a user names: `synthetic`, `csv:DIR`, `yfinance`, ..."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from perdure.errors import UsageError
from perdure.pipelines.market.data.provider import Provider

_KNOWN = "synthetic"


def source(text: str, *, cache: Path, config: Mapping[str, Any]) -> Provider:
    """The provider for `text`; quick, so that a worker makes its own from the same text.

    cache: the run's folder for what was fetched. config: of the run; the synthetic market reads `symbols`,
    `sessions`, `seed`, `kappa` and `dirt` from it. Raises UsageError for an unknown source.
    """
    if text == "synthetic":
        from perdure.pipelines.market.synthetic.provider import SyntheticProvider

        return SyntheticProvider.of(config)
    raise UsageError(f"there is no source {text!r}; there are {_KNOWN}")
