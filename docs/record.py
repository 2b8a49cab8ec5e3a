"""Draw docs/kill-and-resume.svg from a real run that is really killed: `python docs/record.py`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

HERE = Path(__file__).resolve().parent
SCRIPT = HERE.parent / "examples" / "raw_loop.py"
PERDURE = Path(sys.executable).with_name("perdure")


def run(console: Console, folder: Path, *, kill_after: float | None) -> None:
    console.print("[bold green]$[/] python raw_loop.py")
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "0.12"], env={**os.environ, "PERDURE_RUN": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    if kill_after is not None:
        time.sleep(kill_after)
        process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    for line in output.replace(str(folder.parent) + os.sep, "runs/").splitlines():
        console.print(Text(line, style="cyan" if line.startswith("perdure:") else ""))
    if kill_after is not None:
        console.print("[bold red]Killed[/]    [dim]kill -9, exit 137[/]")


def digest(console: Console, folder: Path) -> None:
    console.print(f"[bold green]$[/] perdure digest runs/{folder.name}")
    found = subprocess.run([str(PERDURE), "digest", str(folder)], capture_output=True, text=True, check=True)
    for line in found.stdout.splitlines():
        console.print(Text(line[:96]))


def main() -> None:
    with tempfile.TemporaryDirectory() as name, Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=100, file=nowhere)
        killed, whole = Path(name) / "killed", Path(name) / "uninterrupted"
        run(console, killed, kill_after=1.6)
        run(console, killed, kill_after=2.2)
        run(console, killed, kill_after=None)
        digest(console, killed)
        quiet = {**os.environ, "PERDURE_RUN": str(whole)}
        subprocess.run([sys.executable, str(SCRIPT)], env=quiet, capture_output=True, check=True)
        console.print("[dim]# the same script, never interrupted:[/]")
        digest(console, whole)
        (HERE / "kill-and-resume.svg").write_text(console.export_svg(title="perdure"))


if __name__ == "__main__":
    main()
