"""A job's number, as people and programs write it."""

from __future__ import annotations

MOST = 10**17 - 1
"""The highest number that is taken; SQLite has room for more, and nobody ever will."""


def job_number(text: str) -> int | None:
    """The number that ``text`` is, 0 to :data:`MOST`; None when it can be no job's."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST))):
        return None
    return int(text)
