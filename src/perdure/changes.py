"""What happens when settings differ from those a run was started with, and when work is to be computed again."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from perdure import files
from perdure.errors import ChangedError, UsageError
from perdure.fingerprint import flattened
from perdure.phase import Session, path_of_unit, units_around
from perdure.store import Store


def compare_settings(session: Session) -> None:
    """Refuse another seed or config than the run's own, unless changes are accepted or work is redone."""
    store, settings = session.store, session.settings
    now: dict[str, Any] = {"seed": session.seed, "config": flattened(session.config)}
    saved: Any = store.meta("settings")
    different = _differences(saved, now) if saved else []
    if different and not settings.accept_changes and not settings.redo:
        with store.transaction():
            store.journal.add("changes refused", "", differences=different)
        listed = "".join(f"\n  - {line}" for line in different)
        raise ChangedError(
            f"run {store.folder} was started with other settings:{listed}\nRestore them; or go on with them and "
            "keep the results (--accept-changes); or start over with `perdure reset`",
            different,
        )
    if different or not saved:
        with store.transaction():
            store.set_meta("settings", now)
            if different:
                store.journal.add("changes accepted", "", differences=different)


def _differences(saved: dict[str, Any], now: dict[str, Any]) -> list[str]:
    lines = [] if saved["seed"] == now["seed"] else [f"seed was {saved['seed']}, is {now['seed']}"]
    for name in sorted(saved["config"].keys() | now["config"].keys()):
        was, is_now = saved["config"].get(name, "absent"), now["config"].get(name, "absent")
        if was != is_now:
            lines.append(f"config: {name} was {was!r}, is {is_now!r}")
    return lines


def redo(session: Session, names: Sequence[str]) -> None:
    """Forget phases and all after them, as `--redo` asks. One that was forgotten already is as good as new."""
    store = session.store
    for name in names:
        if store.units.phase(name) is not None:
            session.console.say(f"{name} and all after it are computed again")
            around = _units_from(store, name)
            inside = [path_of_unit(path, key) for path, key in around]
            _forget(session, [name, *inside, *store.units.after(name)], why="--redo", units=around)
        elif not store.journal.has("phase forgotten", name):
            known = [phase.path for phase in store.units.phases()]
            outer = ", ".join(path for path in known if not units_around(path)) or "none"
            near = "".join(f"; did you mean {path!r}?" for path in difflib.get_close_matches(name, known, 1))
            raise UsageError(f"--redo {name}: the run has no such phase; it has {outer}{near}")


def _units_from(store: Store, name: str) -> list[tuple[str, str]]:
    """Phase and key of the unit that a phase is inside of, and of the recorded units after it; the outermost ones.

    None for a phase that is inside of none. Such a unit is computed again as a whole: its body runs, or does not.
    """
    if not (around := units_around(name)):
        return []
    path, key = around[0]
    recorded = store.units.all(path)
    if key not in recorded:
        return [(path, key)]
    return [(path, unit.key) for unit in recorded.values() if unit.position >= recorded[key].position]


def forget_after(session: Session, path: str, *, why: str) -> None:
    """Forget the phases after `path`: they were computed from less than there is now."""
    after = session.store.units.after(path)
    if after:
        session.console.say(f"{', '.join(after)}: computed again, because {why}")
        _forget(session, after, why=why)


def reopen_fallen(store: Store) -> list[str]:
    """Loops that lost their end to damage go on from what is left of them, and with them the units they are part of.

    Returns a line for each of them. A unit that is computed again is compared with its first result.
    """
    notes = []
    for phase in store.units.phases():
        if phase.kind != "range" or phase.state != "completed":
            continue
        if (kept := store.generations.kept(phase.path)) and kept[-1].final:
            continue
        with store.transaction():
            store.units.set_phase(phase.path, state="running")
            for path, key in units_around(phase.path):
                if (unit := store.units.one(path, key)) is not None and unit.state == "done":
                    store.units.expect_again(path, key)
                    store.units.set_phase(path, state="running")
        notes.append(f"{phase.path} lost its end; it goes on from what is left of it")
    return notes


def _forget(
    session: Session, paths: Sequence[str], *, why: str, units: Sequence[tuple[str, str]] = ()
) -> None:
    """Forget phases, and units of an each: (phase, key)."""
    from perdure.snapshot import recovery

    store = session.store
    with store.transaction():  # first all rows at once, then files: a file without a row counts for nothing
        snapshots = [file for path in paths for file in recovery.files_of(store, path)]
        for path in paths:
            store.units.forget(path)
            store.tables.forget(path, keep_data=False)
            store.journal.add("phase forgotten", path, why=why)
        for path, key in units:
            store.tables.forget_unit(path, key)
            store.units.forget_one(path, key)
    for file in snapshots:
        files.remove(file)
