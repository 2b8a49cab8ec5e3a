"""`perdure verify`, `digest` and `why`: is a run whole, what are its bits, what would differ now."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli.app import (
    AsJson,
    RunArgument,
    command,
    emit,
    is_held,
    reading,
    recorded,
    run_folder,
    say,
    time_of,
)
from perdure.console import counted
from perdure.errors import DamagedError

if TYPE_CHECKING:
    from perdure.fingerprint import Fingerprint
    from perdure.store.check import Checked, Finding


@command("verify")
def verify(
    run: RunArgument = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Mend what can be mended; damaged files are kept aside.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Compare every row with its file, and back.

    Exit code 1 when something is wrong. Checked are the database and its rolling backup, snapshots, histories,
    recorded results and their files, rows of tables, and exported best states. A repair says what it did and what
    the next start has to compute again; results stay the same bits. Files that count for nothing (an
    attempt died before it recorded them) are listed, and are no damage.
    """
    folder = run_folder(run)
    done, lost = _repaired(folder) if repair else ((), ())
    try:
        checked = _examined(folder)
    except DamagedError as error:
        from perdure.store.check import Checked, Finding

        checked = Checked((Finding("database", "run.db", str(error)),), (), {"database": 1})
    if as_json:
        emit(
            {
                "run": str(folder), "ok": not checked.findings, "repaired": done, "lost": lost,
                "checked": checked.counts,
                "findings": [asdict(finding) for finding in checked.findings],
                "leftovers": [str(path.relative_to(folder)) for path in checked.leftovers],
            }
        )  # fmt: skip
    else:
        say(*[f"repaired: {line}" for line in done], *[f"lost: {line}" for line in lost])
        _tell(folder, checked, repaired=repair)
    return 1 if checked.findings else 0


def _repaired(folder: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from perdure.clock import SystemClock
    from perdure.repair import repair

    repaired = repair(folder, clock=SystemClock())
    return repaired.done, repaired.lost


def _examined(folder: Path) -> Checked:
    from perdure.examination import examine
    from perdure.store.check import Checked

    with reading(folder) as reader:
        if reader is None:
            return Checked((), (), {})
        checked = examine(folder, reader)
        if not is_held(folder):
            return checked
        # Files come and go while the run works: only what two looks agree on is wrong.
        again = examine(folder, reader)
        lasting = tuple(finding for finding in checked.findings if finding in again.findings)
        return Checked(lasting, (), again.counts)


def _tell(folder: Path, checked: Checked, *, repaired: bool) -> None:
    for path in checked.leftovers:
        say(f"leftover: {path.relative_to(folder)} counts for nothing; the next start or --repair removes it")
    for finding in checked.findings:
        say(f"{finding.kind}: {_named(finding)}: {finding.problem}")
    compared = ", ".join(f"{count} {kind}" for kind, count in checked.counts.items() if count)
    if checked.findings:
        more = "" if repaired else f"; `perdure verify --repair {folder}` mends what can be mended"
        wrong = counted(len(checked.findings), "finding")
        say(f"{folder} is not whole: {wrong} (looked at: {compared}){more}")
    else:
        say(f"{folder} is whole (looked at: {compared or 'nothing, it is empty'})")


def _named(finding: Finding) -> str:
    number = f" generation {finding.number}" if finding.number else ""
    return f"{finding.subject}{number}{f' {finding.key}' if finding.key else ''}"


@command("digest")
def digest(
    run: RunArgument = None,
    parts: Annotated[
        bool, typer.Option("--parts", help="Also the parts that each digest is made of.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Print the digest of each phase and of the run.

    A line a phase over all that it produced, and a last line for the run. Equal digests mean equal bits. Times,
    hosts, attempts, tries and generations are left out, so that an interrupted run and one that was not have
    the same.
    """
    from perdure.store.digest import digests

    folder = run_folder(run)
    with recorded(folder) as reader, reader.transaction():
        found = digests(reader)
    whole = hashlib.sha256(json.dumps([[one.path, one.digest] for one in found]).encode()).hexdigest()
    if as_json:
        emit({"run": str(folder), "digest": whole, "phases": [asdict(one) for one in found]})
        return 0
    for one in found:
        say(f"{one.digest}  {one.path}{'' if one.state == 'completed' else f' ({one.state})'}")
        for name, part in one.parts.items() if parts else ():
            say(f"  {part[:16]}  {name}")
    say(f"{whole}  run")
    return 0


@command("why")
def why(
    run: RunArgument = None,
    root: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the script; found by itself if left out."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Say what differs from what was saved.

    Compared are files, code, libraries and threads of now with those of each phase. Differences that only the
    script can tell (config, arguments, data) are known from its last start that was refused (exit code 73).
    Variables that a script sets itself, such as KERAS_BACKEND, are not seen here.
    """
    from perdure import fingerprint
    from perdure.store.check import last_refusals
    from perdure.store.database import unsealed

    folder = run_folder(run)
    with recorded(folder) as reader:
        rows = reader.rows("SELECT path, fingerprint FROM phases ORDER BY ordinal")
        refused = last_refusals(reader)
    different: dict[str, list[str]] = {}
    for row in rows:
        saved = fingerprint.Fingerprint.from_document(unsealed(row["fingerprint"]))
        place = root.absolute() if root else _root_of(saved, folder)
        lines = fingerprint.differences(saved, fingerprint.current_code_and_environment(saved, place))
        if lines:
            different[row["path"]] = lines
    if as_json:
        shown = [{"phase": phase, "at": at, "differences": lines} for phase, (at, lines) in refused.items()]
        emit({"run": str(folder), "differences": different, "refused": shown})
        return 0
    _tell_differences(different, refused)
    return 0


def _root_of(saved: Fingerprint, folder: Path) -> Path:
    """The folder that recorded file names are relative to: the one in which most of them are found."""
    from perdure.source import PIPELINES

    candidates = [*list(folder.parents)[:3], Path.cwd(), PIPELINES]
    return max(candidates, key=lambda place: sum((place / name).is_file() for name in saved.code))


def _tell_differences(different: dict[str, list[str]], refused: dict[str, tuple[float, list[str]]]) -> None:
    seen: dict[tuple[str, ...], list[str]] = {}
    for phase, lines in different.items():
        seen.setdefault(tuple(lines), []).append(phase)
    for same, phases in seen.items():
        say(f"{', '.join(phases)}:", *[f"  - {line}" for line in same])
    for phase, (at, lines) in refused.items():
        say(f"refused at {time_of(at)}{f' in {phase}' if phase else ''}:", *[f"  - {line}" for line in lines])
    if not different and not refused:
        say("nothing differs")
