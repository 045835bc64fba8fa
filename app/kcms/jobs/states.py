"""Job states, and every move between them that is allowed.

The words are Slurm's.  A state says where the job is; the separate *reason* says why it is there.

PENDING -> RUNNING -> COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL, with SUSPENDED beside
RUNNING, and back to PENDING from both for what is begun anew.  A job is RUNNING from the moment its
placement is durable, before the node has it: from then on it may be running somewhere, and only the
node's word (or its certain death) ends that.
"""

from __future__ import annotations

from enum import Enum

from kcms.errors import Conflict


class State(str, Enum):
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    NODE_FAIL = "NODE_FAIL"

    @property
    def final(self) -> bool:
        return not MOVES[self]


_ENDS = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED, State.TIMEOUT, State.NODE_FAIL})

MOVES: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: _ENDS | {State.SUSPENDED, State.PENDING},
    State.SUSPENDED: _ENDS | {State.RUNNING, State.PENDING},
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.TIMEOUT: frozenset(),
    State.NODE_FAIL: frozenset(),
}


def check_move(job: int, before: State, after: State) -> None:
    """:raises Conflict: the table has no such move"""
    if after not in MOVES[before]:
        raise Conflict(f"job {job} is {before.value} and cannot become {after.value}")
