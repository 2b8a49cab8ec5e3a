"""What a shell offers after Tab for `perdure run`: pipelines, scripts and presets.

Nothing here is imported by an answer to a command; where nothing fits, the shell offers files.
"""

from __future__ import annotations

import os
from pathlib import Path


def targets(incomplete: str) -> list[str]:
    """Built-in pipelines and scripts."""
    from perdure.cli.models.pipelines import PIPELINES

    folder = Path(incomplete if incomplete.endswith("/") else Path(incomplete).parent)
    scripts = sorted(str(path) for path in folder.glob("*.py"))
    return [name for name in [*PIPELINES, *scripts] if name.startswith(incomplete)]


def presets(incomplete: str) -> list[str]:
    """Of the pipeline that was typed before; of all where none was."""
    import importlib

    from perdure.cli.models.pipelines import PIPELINES

    typed = (os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")).split()
    names = [name for name in PIPELINES if name in typed] or list(PIPELINES)
    found = [name for p in names for name in importlib.import_module(f"perdure.pipelines.{p}.config").PRESETS]
    return [name for name in dict.fromkeys(found) if name.startswith(incomplete)]
