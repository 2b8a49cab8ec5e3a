"""What a proof leaves for people and programs: `proof.json`, a page, a badge."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from perdure import __version__, files
from perdure.console import counted, duration
from perdure.prove.proof import DIFFERS, EXACT, Proof, Trial
from perdure.report.page import heading, page, paragraph, table, text

NAMES = ("proof.json", "proof.html", "proof.svg")
_MOST_SUSPECTS = 12


def write(proof: Proof, folder: Path) -> list[Path]:
    """Publish all three into `folder`; returns their paths. Raises StorageError."""
    files.make_folder(folder)
    contents = json.dumps(document(proof), indent=1).encode(), html(proof), badge(proof)
    places = [folder / name for name in NAMES]
    for place, content in zip(places, contents, strict=True):
        files.publish(place, [content], kind="export")
    return places


def document(proof: Proof) -> dict[str, Any]:
    """The proof as JSON."""
    return {
        "verdict": proof.verdict, "kills": proof.kills, "equal": proof.equal, "at": proof.at, "target": proof.target,
        "mode": proof.mode, "seconds": proof.seconds, "uninterrupted": proof.uninterrupted,
        "difference": _difference(proof), "problem": proof.problem, "cause": proof.cause,
        "suspects": [asdict(one) for one in proof.suspects],
        "trials": [asdict(trial) | {"equal": trial.equal} for trial in proof.trials],
        "basis": proof.basis, "perdure": __version__, "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip


def _difference(proof: Proof) -> dict[str, Any] | None:
    return None if proof.difference is None else asdict(proof.difference) | {"text": str(proof.difference)}


# -- in words ----------------------------------------------------------------------------------------------------


def headline(proof: Proof) -> str:
    """The verdict in one line."""
    if proof.verdict == EXACT:
        kills = counted(proof.kills, "kill")
        return f"exact: {kills}, and each resumed run ended with the bits of the uninterrupted one"
    if proof.verdict == DIFFERS:
        return f"differs: {proof.kills - proof.equal} of {proof.kills} kills did not lead to the same bits"
    return (
        f"nondeterministic: {len(proof.uninterrupted)} runs that nobody killed do not agree with each other"
    )


def findings(proof: Proof) -> list[str]:
    """What differs first, why that usually is, and where the script does such things."""
    lines = [f"first difference: {proof.difference}"] if proof.difference else []
    if proof.difference and len(proof.difference.others) > 1:
        lines.append(f"what differs at the end: {_few(proof.difference.others)}")
    lines += [f"a resumed run failed: {proof.problem}"] if proof.problem else []
    lines += [f"usual cause: {proof.cause}"] if proof.cause else []
    lines += [f"look at {one}" for one in proof.suspects[:_MOST_SUSPECTS]]
    return lines


def _few(names: tuple[str, ...]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def rows(proof: Proof) -> list[tuple[str, str, str, str]]:
    """A row a run: kill point, whether it died there, where it resumed, what came out."""
    return [(_points(trial), _died(trial), _resumed(trial), _outcome(trial)) for trial in proof.trials]


def _points(trial: Trial) -> str:
    same = len(set(trial.points)) == 1 and len(trial.points) > 1
    return f"{trial.points[0]}, {len(trial.points)} times in a row" if same else ", ".join(trial.points)


def _died(trial: Trial) -> str:
    if all(trial.killed):
        return "yes" if len(trial.killed) == 1 else f"{len(trial.killed)} times"
    return f"{sum(trial.killed)} times" if any(trial.killed) else "no, it was through"


def _resumed(trial: Trial) -> str:
    return "; ".join(found for found in trial.saved if found) or "-"


def _outcome(trial: Trial) -> str:
    return "equal" if trial.equal else trial.problem.partition("\n")[0] or str(trial.difference)


# -- the page and the badge --------------------------------------------------------------------------------------


def html(proof: Proof) -> bytes:
    """One self-contained page."""
    facts = (
        f"{proof.target}, killed at {proof.mode}; uninterrupted it takes "
        f"{duration(min(proof.uninterrupted))}, all of this took {duration(proof.seconds)}. perdure {__version__}, "
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}."
    )
    names = ("killed at", "died there", "resumed at", "result")
    parts = [
        heading(f"Proof of {Path(proof.target).name}", 1),
        paragraph(headline(proof), "good" if proof.verdict == EXACT else "bad"),
        paragraph(facts, "dim"),
        *(paragraph(line) for line in findings(proof)),
        table(names, rows(proof)) if proof.trials else "",
    ]
    return page(f"Proof of {Path(proof.target).name}", parts)


def badge(proof: Proof) -> bytes:
    """An SVG for a README."""
    said = f"exact, {proof.kills} kills" if proof.verdict == EXACT else proof.verdict
    colour = "#1e7b45" if proof.verdict == EXACT else "#b3261e"
    left, right = 58, 14 + round(6.4 * len(said))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="perdure: {text(said)}"><title>perdure prove: {text(headline(proof))}</title>'
        f'<rect width="{left + right}" height="20" rx="3" fill="{colour}"/>'
        f'<path d="M3 0h{left - 3}v20h-{left - 3}a3 3 0 0 1-3-3v-14a3 3 0 0 1 3-3z" fill="#3a3f47"/>'
        '<g fill="#fff" text-anchor="middle" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">'
        f'<text x="{left / 2:g}" y="14">perdure</text>'
        f'<text x="{left + right / 2:g}" y="14" textLength="{right - 12}">{text(said)}</text></g></svg>\n'
    ).encode()
