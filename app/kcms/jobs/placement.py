"""Which waiting job goes to which node: feasible nodes first, then the best of them.

Pure: a snapshot in, placements and a reason for every job left waiting out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kcms.jobs.model import Job


@dataclass(frozen=True)
class Candidate:
    """A node as placement sees it.  ``load`` is load_one, ``cpus`` its number of CPUs.

    A ``drained`` node is out of use: it gets nothing new.
    """

    name: str
    up: bool
    slots: int
    used: int
    load: float
    cpus: int
    drained: bool = False


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


def place(waiting: Sequence[Job], nodes: Iterable[Candidate]) -> Plan:
    """Give each job in turn the least busy node with a free slot."""
    up = [node for node in nodes if node.up and node.slots > 0]
    alive = [node for node in up if not node.drained]
    why = _why_none(bool(alive), len(up) > len(alive))
    used = {node.name: node.used for node in alive}
    free = [node for node in alive if node.used < node.slots]
    placements: list[Placement] = []
    reasons: dict[int, str] = {}
    for job in waiting:
        if not free:
            reasons[job.id] = why
            continue
        best = min(free, key=lambda node: (pressure(node, used[node.name]), node.name))
        used[best.name] += 1
        if used[best.name] >= best.slots:
            free.remove(best)
        placements.append(Placement(job.id, best.name))
    return Plan(tuple(placements), reasons)


def _why_none(alive: bool, drained: bool) -> str:
    """Why nothing can be placed when every slot of the nodes in use is taken.

    Nothing that changes often stands in it: a new reason is written for each job that waits.
    """
    if not alive:
        return "every node that is up is drained" if drained else "no node is up"
    return "every slot is taken" + (", and some nodes are drained" if drained else "")
