"""Which waiting job goes to which node: feasible nodes first, then the best of them.

Pure: a snapshot in, placements and a reason for every job left waiting out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kcms.jobs.model import LIMITED, Job


@dataclass(frozen=True)
class Candidate:
    """A node as placement sees it.  ``load`` is load_one, ``cpus`` its number of CPUs.

    ``memory`` is what it has, and ``promised`` what of it jobs asked for, in MiB.  A ``drained``
    node is out of use: it gets nothing new.  ``limits``: its release keeps to limits.
    """

    name: str
    up: bool
    slots: int
    used: int
    load: float
    cpus: int
    drained: bool = False
    memory: int = 0
    promised: int = 0
    limits: bool = True


@dataclass(frozen=True)
class Placement:
    job: int
    node: str


@dataclass(frozen=True)
class Plan:
    """Where jobs go, and for each job that stays its reason, in words for its user."""

    placements: tuple[Placement, ...]
    reasons: dict[int, str]


def pressure(node: Candidate, used: int) -> float:
    """How busy a node is: the larger of its measured and its assigned load for each CPU.

    The load average lags behind by a minute, so what was assigned counts as well.
    """
    return max(node.load, float(used)) / max(node.cpus, 1)


@dataclass
class _Room:
    """What is left of a node while jobs are placed."""

    node: Candidate
    used: int
    memory: int

    @classmethod
    def of(cls, node: Candidate) -> _Room:
        return cls(node, node.used, node.memory - node.promised)

    def takes(self, job: Job) -> bool:
        wanted = memory_of(job)
        if is_limited(job) and not self.node.limits:
            return False
        return self.used < self.node.slots and (not wanted or wanted <= self.memory)

    def take(self, job: Job) -> None:
        self.used += 1
        self.memory -= memory_of(job)


def is_limited(job: Job) -> bool:
    """Whether its node has to keep to something for it."""
    return any(job.spec.get(each) for each in LIMITED)


def memory_of(job: Job) -> int:
    """MiB that a job's task is promised; 0 when it asked for nothing in particular."""
    return int(job.spec.get("memory") or 0)


def place(waiting: Sequence[Job], nodes: Iterable[Candidate]) -> Plan:
    """Give each job in turn the least busy node with a free slot."""
    up = [node for node in nodes if node.up and node.slots > 0]
    alive = [node for node in up if not node.drained]
    why = _why_none(bool(alive), len(up) > len(alive))
    rooms = [_Room.of(node) for node in alive]
    most = max((node.memory for node in alive), default=0)
    placements: list[Placement] = []
    reasons: dict[int, str] = {}
    refused = {False: math.inf, True: math.inf}  # the least memory for which there was no room
    for job in waiting:
        limited = is_limited(job)
        try_it = memory_of(job) < refused[limited]
        fitting = [each for each in rooms if each.takes(job)] if try_it else []
        if not fitting:
            rooms = [each for each in rooms if each.used < each.node.slots]
            refused[limited] = min(refused[limited], memory_of(job))
            reasons[job.id] = _too_large(job, rooms, most) if rooms else why
            continue
        best = min(fitting, key=lambda each: (pressure(each.node, each.used), each.node.name))
        best.take(job)
        placements.append(Placement(job.id, best.node.name))
    return Plan(tuple(placements), reasons)


def _too_large(job: Job, rooms: Sequence[_Room], most: int) -> str:
    """Why a job cannot be placed though there are free slots."""
    if is_limited(job) and not any(each.node.limits for each in rooms):
        return "no node with a free slot has a release that keeps to limits"
    if memory_of(job) > most:
        return f"no node in use has {memory_of(job)} MiB of memory"
    return f"{memory_of(job)} MiB of memory are not free on any node with a free slot"


def _why_none(alive: bool, drained: bool) -> str:
    """Why nothing can be placed when every slot of the nodes in use is taken.

    Nothing that changes often stands in it: a new reason is written for each job that waits.
    """
    if not alive:
        return "every node that is up is drained" if drained else "no node is up"
    return "every slot is taken" + (", and some nodes are drained" if drained else "")
