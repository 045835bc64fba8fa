"""How long a job will stand still while it is moved, from its size and from earlier moves.  Pure.

Without an earlier move there is only a default: :data:`BASE` seconds for the steps, and
:data:`RATE` bytes a second for memory that is written, sent, read and laid out again.  Each earlier
move took some multiple of what the default says of its size.  The median multiple of the last
:data:`COUNTED` moves between the same two nodes, in that direction, is what is expected of the next
one there, else that of all moves of the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from kcms.jobs.migration import Migration

BASE = 0.3
RATE = 150e6
COUNTED = 9
REMEMBERED = 256
"""Moves of a cluster that are worth remembering."""


@dataclass(frozen=True)
class Past:
    """A move that was made: the bytes of its image, and the seconds that the job stood still."""

    source: str
    target: str
    bytes: int
    seconds: float

    @classmethod
    def of(cls, moving: Migration | None) -> Past | None:
        """What is to be learned of a migration; None when nothing is."""
        if moving is None or moving.phase != "done":
            return None
        if moving.bytes is None or moving.freeze_seconds is None:
            return None
        return cls(moving.source, moving.target, moving.bytes, moving.freeze_seconds)


def default(size: int) -> float:
    """Seconds for so many bytes, before anything is known of the cluster."""
    return BASE + size / RATE


def foretold(size: int, source: str, target: str, past: Iterable[Past]) -> float:
    """Seconds for which a job of so many bytes will stand still; ``past`` has the newest last."""
    known = [each for each in past if each.seconds > 0]
    there = [each for each in known if (each.source, each.target) == (source, target)]
    ratios = [each.seconds / default(each.bytes) for each in (there or known)[-COUNTED:]]
    return default(size) * (median(ratios) if ratios else 1.0)
