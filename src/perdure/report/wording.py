"""What records mean, in words a colleague understands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from perdure.console import duration

_SIGNALS = {129: "hang-up (the terminal closed)", 130: "Ctrl+C", 143: "SIGTERM (asked to stop)"}
_ERRORS = {
    2: "an error of use",
    73: "refused: code, config, data or libraries had changed",
    74: "the disk was full or failed",
}
_SHORT = {129: "hang-up", 130: "Ctrl+C", 143: "SIGTERM", 73: "changed", 74: "disk"}


def cause(outcome: str, exit_code: int | None, *, where_next: str = "same") -> str:
    """How an attempt ended. where_next: 'same' boot, 'rebooted' or 'elsewhere', as the next attempt tells."""
    code = exit_code or 0
    if outcome == "running":
        return "running"
    if outcome == "completed":
        return "completed, with failed units" if code == 3 else "completed"
    if outcome == "killed":
        return {
            "rebooted": "the machine went down (power, reboot)",
            "elsewhere": "killed without a word; another machine went on",
        }.get(where_next, "killed without a word (SIGKILL, out of memory)")
    if outcome == "stopped":
        return _SIGNALS.get(code, "ended before its last phase was through")
    return _ERRORS.get(code, "an error in the script")


def short_cause(outcome: str, exit_code: int | None) -> str:
    """The same in a word or two, for a line in a terminal."""
    if outcome in {"stopped", "failed"}:
        return _SHORT.get(exit_code or 0, "error" if outcome == "failed" else "ended early")
    return outcome


def event(name: str, subject: str, detail: Mapping[str, Any]) -> str:
    """A line of the journal."""
    place = " ".join(part for part in (subject, str(detail.get("key") or "")) if part)
    if name == "attempt begun":
        died = detail.get("killed")
        return f"attempt begun; attempt {died} had ended without a word" if died else "attempt begun"
    if name == "attempt ended":
        return f"attempt ended: {cause(str(detail.get('outcome')), detail.get('exit_code'))}"
    extra = ""
    if "seconds" in detail:
        extra = f" after {duration(float(detail['seconds']))}"
    elif detail.get("reason"):
        extra = f": {detail['reason']}"
    elif detail.get("differences"):
        extra = f": {len(detail['differences'])} differences"
    return f"{name}{': ' if place else ''}{place}{extra}"


def number(value: float | int | None) -> str:
    """Four or five significant digits, thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.5g}"


def pace(seconds_each: float) -> str:
    """How fast, from the time that one takes."""
    return f"{1 / seconds_each:.1f}/s" if 0 < seconds_each <= 1 else f"{duration(seconds_each)} each"
