"""What `run` and `prove` start: a script or a built-in pipeline, with a preset and changed settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perdure.cli import completion
from perdure.cli.models.pipelines import PIPELINES
from perdure.errors import UsageError

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="A script, or a built-in pipeline: exoplanet, market.",
        autocompletion=completion.targets,
    ),
]
Preset = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="A named set of settings.", autocompletion=completion.presets),
]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one setting; repeatable.")
]


def require(target: str) -> None:
    """Raise UsageError for what is neither a script nor a pipeline."""
    if target not in PIPELINES and not Path(target).is_file():
        raise UsageError(f"{target!r} is neither a script nor a built-in pipeline ({', '.join(PIPELINES)})")
