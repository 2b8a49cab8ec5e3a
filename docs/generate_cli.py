"""Write docs/cli.md from the commands themselves; `--check` says whether it is up to date instead."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from typer.testing import CliRunner

from perdure.cli import COMMANDS, application

PAGE = Path(__file__).parent / "cli.md"
_WIDTH = "100"
_HEAD = """# Commands

This page is written by `docs/generate_cli.py` from the commands' own help; change it there.

TARGET is a script or a built-in pipeline's name. RUN is a run's folder, or its name under `runs/`; where it may be left
out, the only run under `runs/` of the current folder is meant. Every command has `--json`: standard output is then one
JSON document, and an error is `{"error", "kind", "exit_code", "help"}`: the last is a page of [errors.md](errors.md).

`perdure --install-completion` teaches your shell (bash, zsh, fish, PowerShell) to complete commands, options, runs,
scripts and presets; `--show-completion` prints what it would install.

| exit code | means |
|---|---|
| 0 | complete |
| 1 | error |
| 2 | usage |
| 3 | complete with failed units |
| 73 | the fingerprint differs from what was saved |
| 74 | I/O error or disk full; what was saved is intact |
| 75 | another process holds the run |
| 129, 130, 143 | stopped by hang-up, Ctrl+C, SIGTERM; all is saved |
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *(_section(name) for name in COMMANDS)])


def _section(name: str) -> str:
    shown = CliRunner().invoke(application(), [name, "--help"], prog_name="perdure").output
    lines = "\n".join(line.rstrip() for line in shown.strip().splitlines())
    return f"## perdure {name}\n\n```text\n{lines}\n```\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit code 1 when out of date")
    os.environ["COLUMNS"] = os.environ["TERMINAL_WIDTH"] = _WIDTH
    if parser.parse_args().check:
        if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
            return 0
        print(f"{PAGE} is out of date; write it with `python docs/generate_cli.py`", file=sys.stderr)
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
