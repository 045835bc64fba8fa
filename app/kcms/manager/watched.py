"""What the balancer has seen: nodes, tasks at work, moves.  Pure, and in memory only.

A manager that is begun anew knows nothing of it, so that it must listen for a while before it
moves anything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from kcms.jobs.model import NodeReport
from kcms.jobs.pressure import Marks, Track, smoothed
from kcms.jobs.processes import Process
from kcms.jobs.resting import Rest

TOLD = 50
"""Decisions that are remembered."""

RUNNING = "R"
"""The state, as /proc has it, of a process that runs or waits for a CPU."""

TaskId = tuple[int, int]
"""Job and task."""


@dataclass
class AtWork:
    """A task as its processes show it: how many CPUs it wants, smoothed; for how many seconds it
    was seen to run; its memory in bytes.  ``placement`` are its restarts and its epoch; ``used``
    has the CPU seconds of each process when it was told of last."""

    placement: tuple[int, int]
    demand: float | None = None
    age: float = 0.0
    size: int = 0
    used: dict[tuple[int, int], float] = field(default_factory=dict)

    def follow(
        self, processes: Iterable[Process], seconds: float, marks: Marks, stands: bool = False
    ) -> float:
        """Take what its node tells of it, ``seconds`` after it told last; what it wants now.

        One that ``stands`` still does not become older.  A process whose first thread waits for
        the others shows only by what these use.
        """
        alive = list(processes)
        used = {(each.pid, each.birth): each.cpu_seconds or 0.0 for each in alive}
        since = sum(max(now - self.used.get(key, now), 0.0) for key, now in used.items())
        running = sum(each.status == RUNNING for each in alive)
        wanted = max(float(running), since / seconds if seconds > 0 else 0.0)
        if self.demand is None:
            self.demand = wanted
            self.age = sum(used.values()) / max(wanted, 1.0)  # of before it was seen
        else:
            self.demand = smoothed(self.demand, wanted, seconds, marks.smooth)
            self.age += 0.0 if stands else seconds
        self.used = used
        self.size = sum(each.rss_kib or 0 for each in alive) * 1024
        return wanted

    def placed(self, placement: tuple[int, int]) -> None:
        """It is there anew: begun again, it is a young one; moved, its processes are others."""
        if placement[0] != self.placement[0]:
            self.demand, self.age = None, 0.0
        if placement != self.placement:
            self.used = {}
        self.placement = placement


@dataclass
class Heard:
    """A node: ``said`` is its last report that counted, ``since`` the seconds listened then on."""

    track: Track = field(default_factory=Track)
    said: NodeReport | None = None
    since: float = 0.0


@dataclass
class Told:
    """A decision, as it is told of afterwards; ``job`` is None when nothing was moved.

    ``number`` is that of the migration, and ``outcome`` what came of it, empty while it is under
    way; ``time`` is in seconds since the epoch.
    """

    time: float
    message: str
    job: int | None = None
    task: int | None = None
    user: str | None = None
    source: str | None = None
    target: str | None = None
    gain: float | None = None
    cost: float | None = None
    number: int = 0
    outcome: str = ""


@dataclass
class Watch:
    """All of it.  ``apart`` has pairs of nodes between which nothing moves in that direction, each
    with the seconds for which that is so; ``known`` the last migration of each job that was taken
    account of; ``waited`` the seconds since the last decision, ``due`` that one is to be made."""

    nodes: dict[str, Heard] = field(default_factory=dict)
    tasks: dict[TaskId, AtWork] = field(default_factory=dict)
    rests: dict[TaskId, Rest] = field(default_factory=dict)
    apart: dict[tuple[str, str], float] = field(default_factory=dict)
    known: dict[int, int] = field(default_factory=dict)
    told: deque[Told] = field(default_factory=lambda: deque(maxlen=TOLD))
    notes: dict[TaskId, str] = field(default_factory=dict)
    why: str = ""
    waited: float = 0.0
    due: bool = False

    def tell(self, told: Told) -> None:
        """Remember a decision; that nothing moves only once, as long as it is for that reason."""
        last = self.told[-1] if self.told else None
        if told.job is None and last is not None and last.job is None:
            if last.message != told.message:
                self.told[-1] = told
            return
        self.told.append(told)

    def let_pass(self, seconds: float) -> None:
        for rest in self.rests.values():
            rest.passed(seconds)
        self.apart = {pair: left - seconds for pair, left in self.apart.items() if left > seconds}
