"""The page about the sweeps shows the counts that were kept last."""

from __future__ import annotations

from sweeps.document import PAGE, page


def test_the_page_shows_the_latest_counts() -> None:
    assert page() == PAGE.read_text(), "write it again: python tests/sweeps/document.py"
