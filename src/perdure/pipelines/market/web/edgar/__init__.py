"""EDGAR, where US companies file: what was filed and when, insiders' trades, and earnings as first reported."""

from __future__ import annotations

from perdure.pipelines.market.web.edgar.company import Edgar

__all__ = ["Edgar"]
