"""What a terminal may be shown of what somebody else has named."""

from __future__ import annotations


def plain(text: str) -> str:
    """``text`` without what would move a terminal's cursor, or do worse."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else "?" for each in text)
