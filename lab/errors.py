"""The one error of this package: a line for the person at the terminal."""

from __future__ import annotations


class LabError(Exception):
    """Something cannot be done; the text says what is wrong and what would be right."""
