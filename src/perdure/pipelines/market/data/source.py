"""The source that a user names: `synthetic`, `csv:DIR`, `yfinance`, ..."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from perdure.errors import UsageError
from perdure.pipelines.market.data.provider import Provider

KNOWN = ("synthetic", "csv:DIR", "parquet:DIR", "yfinance", "stooq", "tiingo")


def source(text: str, *, cache: Path, config: Mapping[str, Any]) -> Provider:
    """The provider for `text`; quick to make, so that a worker process makes its own from the same text.

    cache: the run's folder for what was fetched; only sources on the web use it, for the others are made or read
    again as quickly. config: of the run; the synthetic market reads `symbols`, `sessions`, `market_seed` (or
    `seed`), `kappa` and `dirt` from it. Raises UsageError for an unknown source.
    """
    kind, _, place = text.partition(":")
    if text == "synthetic":
        from perdure.pipelines.market.synthetic.provider import SyntheticProvider

        return SyntheticProvider.of(config)
    if kind in ("csv", "parquet") and place:
        from perdure.pipelines.market.folder.provider import Folder

        return Folder(Path(place).expanduser().absolute(), kind)
    if text in ("yfinance", "stooq", "tiingo"):
        from perdure.pipelines.market.web.composite import web

        return web(text, cache=cache, last=np.datetime64("today"))
    raise UsageError(f"there is no source {text!r}; there are {', '.join(KNOWN)}")
