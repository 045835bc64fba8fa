"""How busy a node is, and for how long it has been so, over the time that was listened.  Pure.

The marks are the thresholds of Eager, Lazowska, Zahorjan, "Adaptive load sharing in homogeneous
distributed systems" (IEEE Transactions on Software Engineering 12, 1986): who may give and who may
take is decided of each node alone, by a threshold.  There are two of them, and time that a node
must stand beyond one, so that what comes and goes moves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

GIVES, TAKES, NEITHER, LISTENING = "gives", "takes", "neither", "listening"
ROLES = (GIVES, TAKES, NEITHER, LISTENING)


@dataclass(frozen=True)
class Marks:
    """When jobs are moved.

    A node gives while its pressure, what runs or waits for a CPU for each of its CPUs, has stood
    above ``high`` for ``hold`` seconds, and takes while it has stood below ``low`` for as long.
    What is gained must be ``factor`` times what the move costs.  A job that moved stays for
    ``pause`` seconds, and each time for twice as long.  With ``jobs_only`` only what jobs use
    counts, and not all that runs on a node.
    """

    high: float = 1.2
    low: float = 0.7
    hold: float = 120.0
    factor: float = 3.0
    pause: float = 600.0
    jobs_only: bool = False

    @property
    def smooth(self) -> float:
        """The time constant, in seconds, by which what nodes say is smoothed."""
        return self.hold / 2

    @property
    def full(self) -> float:
        """The most pressure that a node which takes is brought to: it never comes to give."""
        return (1.0 + self.high) / 2


def smoothed(before: float, said: float, seconds: float, constant: float) -> float:
    """The exponentially weighted mean, as that of load averages: ``said`` held for ``seconds``."""
    weight = 1.0 - math.exp(-seconds / constant) if constant > 0 else 1.0
    return before + weight * (said - before)


@dataclass
class Track:
    """What was heard of a node: its smoothed pressure, None before it spoke, and for how many
    seconds it was listened to, and stood above the high mark or below the low one."""

    value: float | None = None
    heard: float = 0.0
    above: float = 0.0
    below: float = 0.0

    def follow(self, said: float, seconds: float, marks: Marks) -> None:
        """Take a word of it, ``seconds`` after the one before."""
        if self.value is None:
            self.value, seconds = said, 0.0
        else:
            self.value = smoothed(self.value, said, seconds, marks.smooth)
        self.heard += seconds
        self.above = self.above + seconds if self.value > marks.high else 0.0
        self.below = self.below + seconds if self.value < marks.low else 0.0

    def anew(self) -> None:
        """Forget it all, as something moved from or to it."""
        self.value = None
        self.heard = self.above = self.below = 0.0

    def role(self, marks: Marks) -> str:
        """What it does as far as this tells, one of :data:`ROLES`."""
        if self.value is None or self.heard < marks.hold:
            return LISTENING
        if self.above >= marks.hold:
            return GIVES
        return TAKES if self.below >= marks.hold else NEITHER
