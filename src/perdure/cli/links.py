"""Where the documentation says more about an error: the one place that knows."""

from __future__ import annotations

from perdure.errors import PerdureError

DOCUMENTATION = "https://github.com/perdure/perdure/tree/main/docs"  # as pyproject.toml says
PAGES = {  # error -> page and anchor
    "UsageError": "errors.md#usageerror",
    "StateError": "errors.md#stateerror",
    "NameReusedError": "errors.md#namereusederror",
    "MainGuardError": "errors.md#mainguarderror",
    "ChangedError": "errors.md#changederror",
    "StorageError": "errors.md#storageerror",
    "LockedError": "errors.md#lockederror",
    "DamagedError": "errors.md#damagederror",
    "NondeterminismError": "errors.md#nondeterminismerror",
    "FormatError": "errors.md#formaterror",
}


def help_for(error: PerdureError) -> str | None:
    """The address of what the documentation says about an error of this kind, or of the nearest kind above it."""
    page = next((PAGES[kind.__name__] for kind in type(error).__mro__ if kind.__name__ in PAGES), None)
    return None if page is None else f"{DOCUMENTATION}/{page}"
