"""For how long a task is left where it is after it moved, or would not.  Pure."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 86400.0
"""Seconds that it rests at the most."""


@dataclass
class Rest:
    """``left`` are the seconds, listened, for which it still rests, and ``why`` it does; every
    move, and every refusal, doubles the next pause of its kind."""

    left: float = 0.0
    why: str = ""
    moves: int = 0
    refusals: int = 0

    def moved(self, pause: float) -> None:
        self._begin(pause, self.moves, "it moved lately")
        self.moves += 1

    def refused(self, pause: float, why: str) -> None:
        self._begin(pause, self.refusals, f"it could not be moved lately: {why}")
        self.refusals += 1

    def _begin(self, pause: float, before: int, why: str) -> None:
        self.left, self.why = min(pause * 2 ** min(before, 20), max(LONGEST, pause)), why

    def passed(self, seconds: float) -> None:
        self.left = max(self.left - seconds, 0.0)
