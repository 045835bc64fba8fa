"""What the preflight finds wrong, and how it says so.  Pure.

A problem is one line, ``HOST: what is wrong; what would be right``.  The same problem of many hosts
is one line, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

NAMED_HOSTS = 3


@dataclass(frozen=True)
class Problem:
    """``where`` is a host, or empty for the inventory as a whole."""

    where: str
    wrong: str
    right: str

    @property
    def text(self) -> str:
        return f"{self.wrong}; {self.right}"


def lines(problems: Iterable[Problem]) -> list[str]:
    """One line for each different problem, in the order of their first appearance."""
    hosts: dict[str, list[str]] = {}
    for problem in problems:
        hosts.setdefault(problem.text, []).append(problem.where or "inventory")
    return [f"{some(dict.fromkeys(where))}: {text}" for text, where in hosts.items()]


def some(names: Iterable[str]) -> str:
    """A few of ``names``, and how many more there are."""
    everyone = list(names)
    more = len(everyone) - NAMED_HOSTS
    shown = ", ".join(everyone[:NAMED_HOSTS])
    return f"{shown} and {more} more" if more > 0 else shown


def suggestion(word: str, known: Collection[str], otherwise: str) -> str:
    """``did you mean X?`` when one of ``known`` is close to ``word``, else ``otherwise``."""
    close = difflib.get_close_matches(word, sorted(known), n=1)
    return f"did you mean {close[0]}?" if close else otherwise
