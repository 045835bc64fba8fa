"""What a node's picture says: whether the node is heard, and how loaded it is.

Bands are Ganglia's: load_one over the number of CPUs, in steps of a quarter; exactly 1.00 is not
yet overload.  A node is *late* after TMAX seconds of silence (2003: "not working") and *down*
after four times that, which is when the aggregator stops counting it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kcms.wire.ganglia_xml import DEFAULT_TMAX, DOWN_FACTOR


class State(StrEnum):
    """Whether a node is heard from."""

    UP = "up"
    LATE = "late"
    DOWN = "down"


@dataclass(frozen=True)
class Band:
    """One step of the load scale; ``bars`` is how many bars the picture's screen shows."""

    key: str
    label: str
    meaning: str
    bars: int


UNKNOWN = Band("none", "no load known", "heard, but its load has not been told yet", 0)
BANDS = (
    Band("0", "0-25 %", "idle or nearly so", 1),
    Band("1", "25-50 %", "lightly loaded", 2),
    Band("2", "50-75 %", "half loaded", 3),
    Band("3", "75-100 %", "fully used", 4),
    Band("4", "over 100 %", "overloaded: more work than CPUs", 4),
)


def band(load: float | None, cpus: float | None) -> Band:
    """The band of ``load`` (load_one) on ``cpus`` CPUs; a missing number of CPUs counts as 1."""
    if load is None:
        return UNKNOWN
    share = load / max(cpus or 1.0, 1.0)
    if share > 1.0:
        return BANDS[4]
    for limit, found in ((0.75, BANDS[3]), (0.50, BANDS[2]), (0.25, BANDS[1])):
        if share >= limit:
            return found
    return BANDS[0]


def state(silence: float, tmax: float, unasked: float = 0.0) -> State:
    """The state of a node silent for ``silence`` seconds whose longest expected gap is ``tmax``.

    ``unasked`` of those seconds passed since its cluster was last asked.  A node may have been
    heard in them, so they do not make it late; being down does not wait for the next answer.
    """
    limit = tmax if tmax > 0 else DEFAULT_TMAX
    if silence >= DOWN_FACTOR * limit:
        return State.DOWN
    return State.LATE if silence - unasked > limit else State.UP
