"""Which waiting task goes to which node: feasible nodes first, then the best of them.

Pure: a snapshot in, placements and a reason for every job of which something stays waiting out.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kcms.jobs.checkpointing import Kept
from kcms.jobs.model import ABILITIES, ATTACH, CHECKPOINT, LIMITS, STAGE, Job
from kcms.jobs.needs import Demand
from kcms.jobs.queue import Turn, turn

PARALLEL = "parallel"


@dataclass(frozen=True)
class Candidate:
    """A node as placement sees it.

    ``load`` is load_one, ``queue`` the processes that run or wait for a CPU, ``cpus`` its number of
    CPUs.  ``memory`` is what it has, ``free`` what of it is free, and ``promised`` what of it jobs
    asked for, in MiB.  A ``drained`` node is out of use: it gets nothing new.  ``abilities`` are
    what its release can do.  ``machine`` and ``criu`` bear on what images it can take.
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
    queue: float = 0.0
    free: int = 0
    abilities: frozenset[str] = frozenset(ABILITIES)
    machine: str = ""
    criu: str = ""


@dataclass(frozen=True)
class Placement:
    job: int
    node: str
    task: int = 0


@dataclass(frozen=True)
class Plan:
    """Where tasks go, and for each job that had a turn and of which some stay its reason, in words
    for its user; ``rest`` has that of all others of a kind."""

    placements: tuple[Placement, ...]
    reasons: dict[int, str]
    rest: dict[Kind, str]


Kind = tuple[Demand, int]
"""What jobs have in common of which either all find room, or none but the first few: what each task
takes, and how many must begin together."""


def kind_of(job: Job) -> Kind:
    return Demand.of(job), job.size if job.job_class == PARALLEL else 0


def pressure(node: Candidate, used: int, metric: str = "load") -> float:
    """How busy a node is: what is measured or what is assigned for each CPU, whichever is more.

    The load average lags behind by a minute, so what was assigned counts as well.  With the metric
    *load_memory* the part of its memory that is taken or promised is added.
    """
    measured = node.queue if metric == "queue" else node.load
    busy = max(measured, float(used)) / max(node.cpus, 1)
    if metric != "load_memory" or not node.memory:
        return busy
    return busy + max(node.memory - node.free, node.promised) / node.memory


@dataclass
class _Room:
    """What is left of a node while tasks are placed; ``tasks`` counts those of each job on it."""

    node: Candidate
    used: int
    memory: int
    tasks: Counter[int] = field(default_factory=Counter)

    @classmethod
    def of(cls, node: Candidate) -> _Room:
        return cls(node, node.used, node.memory - node.promised)

    def suits(self, wanted: Demand, nodes: frozenset[str] | None) -> bool:
        """Whether it is one that such a task may ever go to; ``nodes`` are its partition's."""
        return (nodes is None or self.node.name in nodes) and wanted.needs <= self.node.abilities

    def can_resume(self, image: Kept) -> bool:
        node = self.node
        able = CHECKPOINT in node.abilities
        return able and image.goes_on(node.name, node.machine, node.criu)

    def holds(self, wanted: Demand, job: int) -> int:
        """How many more tasks of the job there is room for."""
        tasks = (self.node.slots - self.used) // wanted.cpus
        if wanted.memory:
            tasks = min(tasks, self.memory // wanted.memory)
        if wanted.per_node is not None:
            tasks = min(tasks, wanted.per_node - self.tasks[job])
        return max(0, tasks)

    def take(self, wanted: Demand, job: int) -> None:
        self.used += wanted.cpus
        self.memory -= wanted.memory
        self.tasks[job] += 1

    def rank(self, wanted: Demand) -> tuple[float, str]:
        return pressure(self.node, self.used, wanted.metric), self.node.name


class _Placing:
    """One pass over the queue."""

    def __init__(
        self, nodes: Iterable[Candidate], partitions: Mapping[str, frozenset[str]]
    ) -> None:
        up = [node for node in nodes if node.up and node.slots > 0]
        alive = [node for node in up if not node.drained]
        self.partitions = partitions
        self.full = _why_none(bool(alive), len(up) > len(alive))
        self.rooms = [_Room.of(node) for node in alive]
        self.free = [each for each in self.rooms if each.used < each.node.slots]
        self.refused: dict[Demand, int] = {}  # for what kind: the least memory without room
        self.told: dict[Demand, str] = {}  # why there is none: rooms only fill in one pass
        self.placements: list[Placement] = []
        self.reasons: dict[int, str] = {}

    def place(self, job: Job, wanted: Demand) -> bool:
        """Whether all that waits of it found room."""
        if job.job_class == PARALLEL:
            return self._together(job, wanted)
        if wanted.per_node is not None:
            self.count(job)
        if wanted.resumes:
            return self._resume(job, wanted)
        for index in job.unplaced():
            best = self._best(job, wanted)
            if best is None:
                self.reasons[job.id] = self.why_not(job, wanted)
                return False
            self._take(best, wanted, Placement(job.id, best.node.name, index))
        return True

    def _resume(self, job: Job, wanted: Demand) -> bool:
        """As :meth:`place`, of tasks not all of which the same nodes can take."""
        for index in job.unplaced():
            task = job.task(index)
            image = task.saved.newest if task is not None and task.saved.resume else None
            fitting = self.fitting(job, wanted)
            able = [each for each in fitting if image is None or each.can_resume(image)]
            if able:
                best = min(able, key=lambda each: each.rank(wanted))
                self._take(best, wanted, Placement(job.id, best.node.name, index))
            elif image is not None and fitting:
                self.reasons[job.id] = self._why_not_resumed(image)
            else:
                self.reasons.setdefault(job.id, self.why(wanted))
        return job.id not in self.reasons

    def _why_not_resumed(self, image: Kept) -> str:
        """Why a task cannot go on from an image on any node that has room for it."""
        told = "no node that is free now can go on from its checkpoint"
        if any(each.node.name in image.not_on for each in self.rooms):
            told += f"; {', '.join(image.not_on[:3])} refused it"
        return told

    def why_not(self, job: Job, wanted: Demand) -> str:
        if job.job_class == PARALLEL:
            return self._why_not_together(job, wanted)
        if wanted not in self.told:
            self.told[wanted] = self.why(wanted)
        return self.told[wanted]

    def _take(self, room: _Room, wanted: Demand, placement: Placement) -> None:
        room.take(wanted, placement.job)
        self.placements.append(placement)
        if room.used >= room.node.slots:
            self.free = [each for each in self.free if each is not room]

    def _suiting(self, rooms: Iterable[_Room], wanted: Demand) -> list[_Room]:
        name = wanted.partition
        nodes = None if name is None else self.partitions.get(name, frozenset())
        return [each for each in rooms if each.suits(wanted, nodes)]

    def _best(self, job: Job, wanted: Demand) -> _Room | None:
        kind = wanted._replace(memory=0)
        if wanted.memory >= self.refused.get(kind, math.inf):
            return None
        fitting = self.fitting(job, wanted)
        if fitting:
            return min(fitting, key=lambda each: each.rank(wanted))
        if wanted.per_node is None:
            self.refused[kind] = wanted.memory
        return None

    def fitting(self, job: Job, wanted: Demand) -> list[_Room]:
        """The nodes with room for one more task of the job."""
        return [each for each in self._suiting(self.free, wanted) if each.holds(wanted, job.id)]

    def count(self, job: Job) -> None:
        """Know where tasks of the job are."""
        there = Counter(task.node for task in job.open_tasks)
        for room in self.rooms:
            room.tasks[job.id] = there[room.node.name]

    def _together(self, job: Job, wanted: Demand) -> bool:
        """All tasks of a job at once or none, the ranks of a node one after another."""
        rooms = sorted(self._suiting(self.free, wanted), key=lambda each: each.rank(wanted))
        chosen: list[_Room] = []
        for room in rooms:
            chosen += [room] * min(job.size - len(chosen), room.holds(wanted, job.id))
        if len(chosen) < job.size:
            self.reasons[job.id] = self._why_not_together(job, wanted)
            return False
        for rank, room in enumerate(chosen):
            self._take(room, wanted, Placement(job.id, room.node.name, rank))
        return True

    def _why_not_together(self, job: Job, wanted: Demand) -> str:
        suiting = self._suiting(self.rooms, wanted)
        if not suiting:
            return self.why(wanted)
        empty = [_Room(each.node, 0, each.node.memory) for each in suiting]
        most = sum(each.holds(wanted, job.id) for each in empty)
        if most < job.size:
            return f"the nodes in use have room for {most} of its {job.size} tasks at once"
        return f"there is no room for its {job.size} tasks at once yet"

    def why(self, wanted: Demand) -> str:
        """Why a task cannot be placed.

        Nothing that changes often stands in it: a new reason is written for each job that waits.
        """
        suiting = self._suiting(self.rooms, wanted)
        if not suiting:
            return self._why_unsuited(wanted) if self.rooms else self.full
        if wanted.memory > max(each.node.memory for each in suiting):
            return f"no node in use has {wanted.memory} MiB of memory"
        if wanted.cpus > max(each.node.slots for each in suiting):
            return f"no node in use has {wanted.cpus} slots"
        free = [each for each in suiting if each.node.slots - each.used >= wanted.cpus]
        if not free:
            return (
                self.full if wanted.cpus == 1 else f"{wanted.cpus} slots are not free on any node"
            )
        if wanted.memory and all(each.memory < wanted.memory for each in free):
            return f"{wanted.memory} MiB of memory are not free on any node with a free slot"
        return f"every node with a free slot has {wanted.per_node} of its tasks"

    def _why_unsuited(self, wanted: Demand) -> str:
        named = wanted._replace(needs=frozenset())
        if not self._suiting(self.rooms, named):
            return f"no node of partition {wanted.partition} is up and in use"
        if ATTACH in wanted.needs and self._suiting(self.rooms, _without(wanted, ATTACH)):
            return "no node in use takes interactive jobs"
        if STAGE in wanted.needs and self._suiting(self.rooms, _without(wanted, STAGE)):
            return "no node in use takes staged jobs: that needs this release and a gateway there"
        what = "keeps to limits" if wanted.needs == {LIMITS} else "can run such jobs"
        return f"no node in use has a release that {what}"


def _without(wanted: Demand, ability: str) -> Demand:
    return wanted._replace(needs=wanted.needs - {ability})


def place(
    waiting: Mapping[Kind, Iterable[Job]],
    nodes: Iterable[Candidate],
    partitions: Mapping[str, frozenset[str]] | None = None,
) -> Plan:
    """Give each task in turn the best node that has room for it, those of a parallel job at once.

    As room only goes in one pass, a kind of which a job found none has no further turn, and nobody
    has once there is no free slot.  (Where a node may have some of a job's tasks only, another job
    may find room yet.)

    :param waiting: of each kind those that wait, in their turn
    :param partitions: the nodes of each partition
    """
    placing = _Placing(nodes, partitions or {})
    lines = {kind: iter(jobs) for kind, jobs in waiting.items()}
    heads = [(turn(job), kind, job) for kind, line in lines.items() for job in _next(line)]
    rest: dict[Kind, str] = {}
    heads.sort(key=_first)
    while heads and placing.free:
        _, kind, job = heads.pop(0)
        placed = placing.place(job, kind[0])
        if placed or (kind[0].per_node is not None and not kind[1]):
            for following in _next(lines[kind]):
                bisect.insort(heads, (turn(following), kind, following), key=_first)
        else:
            rest[kind] = placing.reasons[job.id]
    rest.update((kind, placing.why_not(job, kind[0])) for _, kind, job in heads)
    return Plan(tuple(placing.placements), placing.reasons, rest)


def targets(
    job: Job, nodes: Iterable[Candidate], partitions: Mapping[str, frozenset[str]]
) -> tuple[list[str], str]:
    """The nodes with room for one more task of a job, the best first; without any, why."""
    placing, wanted = _Placing(nodes, partitions), Demand.of(job)
    placing.count(job)
    found = sorted(placing.fitting(job, wanted), key=lambda each: each.rank(wanted))
    return [each.node.name for each in found], "" if found else placing.why(wanted)


def _next(line: Iterator[Job]) -> Iterable[Job]:
    """The next of a line, if there is one."""
    return itertools.islice(line, 1)


def _first(head: tuple[Turn, Kind, Job]) -> Turn:
    return head[0]


def _why_none(alive: bool, drained: bool) -> str:
    """Why nothing can be placed when every slot of the nodes in use is taken."""
    if not alive:
        return "every node that is up is drained" if drained else "no node is up"
    return "every slot is taken" + (", and some nodes are drained" if drained else "")
