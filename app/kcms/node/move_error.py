"""What a step of a migration says when it does not come about."""

from __future__ import annotations


class MoveError(Exception):
    """One sentence that says why."""


def plain(text: str) -> str:
    """The sentence as one line of bounded length; parts of it may be a user's choice."""
    line = " ".join(text.split())
    return "".join(each if each.isprintable() else "?" for each in line)[:1000] or "it failed"
