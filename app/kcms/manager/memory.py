"""What the manager remembers: open jobs, nodes, and changes that are not yet durable.  Pure."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from kcms.jobs.freezing import REMEMBERED, Past
from kcms.jobs.intervals import Losses
from kcms.jobs.migration import Migration
from kcms.jobs.model import Job, NodeReport, Task, TaskReport
from kcms.jobs.pressure import Marks
from kcms.jobs.queue import Followed, followed_by
from kcms.jobs.spec import is_interactive, save_interval
from kcms.jobs.states import State
from kcms.manager.litter_rows import Litter, LitterKey
from kcms.manager.processes import Processes
from kcms.manager.rows import Drain, Event
from kcms.manager.signal_rows import Given
from kcms.manager.waiting import Waiting
from kcms.manager.watched import Watch

TaskKey = tuple[int, int, int]
"""Job, task, epoch of a unit."""


class Orphan(NamedTuple):
    """A unit that is to be killed as nobody wants it: the seconds that it has after SIGTERM, and
    what it takes of its node until then (``memory`` in MiB)."""

    grace: float
    slots: int = 1
    memory: int = 0


@dataclass
class Node:
    """What is known of a node.  Nothing of it is durable: the node says it again.

    ``heard`` is the time of its last report, or of the moment it became known.  ``silence`` counts
    the seconds since then in which the manager was listening: neither a clock that is set nor a
    machine that slept makes a node silent.  ``listed`` is false for one that was taken out of the
    list of hosts while tasks of it are not over.  ``missing`` are tasks its last report lacked;
    ``foreign`` are tasks in it that are of another job store than ours.  ``orphans`` are tasks that
    are to be killed, as nobody wants them.
    """

    name: str
    heard: float
    report: NodeReport | None = None
    orphans: dict[TaskKey, Orphan] = field(default_factory=dict)
    silence: float = 0.0
    listed: bool = True
    missing: frozenset[TaskKey] = frozenset()
    foreign: tuple[TaskReport, ...] = ()


@dataclass
class Tried:
    """What came of moves of a task from a node that is to be empty.

    ``number`` is the last of the job's migrations that is counted in ``count``, those that came to
    nothing, and ``message`` why it did.  ``refused`` counts them by the node that it was up to, ""
    for none; ``pauses`` has the seconds for which that node is not asked to take it, or it is left
    where it is.
    """

    number: int = 0
    count: int = 0
    message: str = ""
    refused: Counter[str] = field(default_factory=Counter)
    pauses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """As in :class:`kcms.config.ManagerConfig`; times in seconds.

    ``balance`` says when running jobs are moved to idle nodes, None for never.
    """

    node_timeout: float = 30.0
    node_lost: float = 300.0
    kill_grace: float = 5.0
    max_open_jobs: int = 10_000
    max_open_tasks: int = 100_000
    migration_timeout: float = 300.0
    ended_shown: float = 600.0
    lease: float = 180.0
    max_restarts: int = 10
    checkpoints_kept: int = 2
    checkpoints_at_once: int = 4
    checkpoints_a_node: int = 2
    checkpoint_interval: int | str = 0
    partitions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    balance: Marks | None = None


@dataclass
class Memory:
    """What the manager remembers: the jobs that are not over, and the nodes.

    ``placed`` has the numbers of the jobs that have open tasks on a node or are on their way to it;
    ``store`` is the id of the job store that the numbers are of.  ``moving`` has the jobs that are
    being moved, each with the seconds in which the manager listened since then.  ``drained`` has
    the nodes that are out of use, be they on the list of hosts or not.  ``unsure`` has the
    tasks that had begun when the copy was made that the store was restored from.  ``followed``
    has what is known of jobs that others follow, as long as these wait.  ``signals`` has those that
    open tasks were given, also the last ones that their nodes have dealt with.  ``unasked`` has the
    interactive jobs that wait, each with the seconds since somebody asked for it.  ``open_of``
    and ``tasks_of`` count the jobs of each user and their tasks.  ``still_since`` has the moment,
    on the clock ``steady``, since which a job that is being moved stands still; ``past_moves`` what
    earlier moves took, the newest last.  ``tried`` has, by node, job and task, what came of moves
    from nodes that are to be empty.  ``litter`` are images that are to be removed, ``resting`` of
    those how often a node could not and for how many seconds no other is asked; ``saving`` has the
    seconds in which the manager listened since a checkpoint was begun.  ``resuming`` has the jobs
    that wait to go on from images, and the seconds since nodes were asked that refused them.
    ``periodic`` are the jobs that run and are saved by and by, ``ages`` has by job, task and epoch
    the seconds since that was tried.  ``losses`` are those of nodes, as seen; the time up of the
    last ``uncounted`` seconds is not on record.  ``watch`` is what the balancer has seen.
    """

    cluster: str
    rules: Rules
    jobs: dict[int, Job] = field(default_factory=dict)
    last_job: int = 0
    nodes: dict[str, Node] = field(default_factory=dict)
    placed: dict[str, set[int]] = field(default_factory=dict)
    store: str = ""
    moving: dict[int, float] = field(default_factory=dict)
    drained: dict[str, Drain] = field(default_factory=dict)
    unsure: frozenset[TaskKey] = frozenset()
    followed: dict[int, Followed] = field(default_factory=dict)
    followers: dict[int, set[int]] = field(default_factory=dict)
    signals: dict[TaskKey, tuple[Given, ...]] = field(default_factory=dict)
    unasked: dict[int, float] = field(default_factory=dict)
    litter: dict[LitterKey, Litter] = field(default_factory=dict)
    resting: dict[LitterKey, tuple[int, float]] = field(default_factory=dict)
    saving: dict[tuple[int, int, int], float] = field(default_factory=dict)
    still_since: dict[int, float] = field(default_factory=dict)
    past_moves: deque[Past] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    steady: Callable[[], float] = time.monotonic
    tried: dict[tuple[str, int, int], Tried] = field(default_factory=dict)
    resuming: dict[int, float] = field(default_factory=dict)
    periodic: set[int] = field(default_factory=set)
    ages: dict[tuple[int, int, int], float] = field(default_factory=dict)
    losses: Losses = field(default_factory=Losses)
    uncounted: float = 0.0
    watch: Watch = field(default_factory=Watch)

    def __post_init__(self) -> None:
        self.processes = Processes(self.rules.ended_shown)
        self.waiting = Waiting(self.jobs)
        self.open_of: Counter[str] = Counter()
        self.tasks_of: Counter[str] = Counter()

    def adopt(self, job: Job) -> None:
        """Remember the job as it now is, or forget it as it is over."""
        before = self.jobs.pop(job.id, None)
        self.waiting.follow(before, job)
        self.open_of[job.user] += is_open(job) - is_open(before)
        self.tasks_of[job.user] += open_size(job) - open_size(before)
        for name in nodes_of(before):
            self.placed[name].discard(job.id)
            if not self.placed[name]:
                del self.placed[name]
        if not job.state.final:
            self.jobs[job.id] = job
            for name in nodes_of(job):
                self.placed.setdefault(name, set()).add(job.id)
        self._follow(before, job)
        if job.state is State.PENDING and is_interactive(job.spec):
            self.unasked.setdefault(job.id, 0.0)
        else:
            self.unasked.pop(job.id, None)
        if job.resumes and not job.state.final:
            self.resuming.setdefault(job.id, 0.0)
        else:
            self.resuming.pop(job.id, None)
        runs = job.state in (State.RUNNING, State.SUSPENDED) and save_interval(job.spec)
        (self.periodic.add if runs else self.periodic.discard)(job.id)
        earlier, moving = under_way(before), under_way(job)
        if moving is None:
            self.moving.pop(job.id, None)
            self.still_since.pop(job.id, None)
            past = Past.of(job.migration) if earlier is not None else None
            if past is not None:
                self.past_moves.append(past)
        elif earlier is None or earlier.number != moving.number:
            self.moving[job.id] = 0.0

    def _follow(self, before: Job | None, job: Job) -> None:
        """Remember of a job what its followers ask, and forget what has none any more."""
        waits = job.state is State.PENDING
        for _, number in followed_by(job) if waits or before is not None else ():
            there = self.followers.setdefault(number, set())
            (there.add if waits else there.discard)(job.id)
            if not there:
                del self.followers[number]
                self.followed.pop(number, None)
        if job.id in self.followers:
            self.followed[job.id] = Followed.of(job)

    def tasks_on(self, name: str) -> list[tuple[Job, Task]]:
        """The tasks of a node that are not over, by the jobs' age."""
        jobs = (self.jobs[number] for number in sorted(self.placed.get(name, ())))
        return [(job, task) for job in jobs for task in job.open_tasks if task.node == name]

    def is_up(self, node: Node) -> bool:
        heard = node.report is not None and node.silence <= self.rules.node_timeout
        return node.listed and heard


class Draft:
    """Changes on top of a :class:`Memory`, not yet durable.

    ``concerned`` are nodes of which something else is wanted for another reason than a job's
    change; ``capacity`` says that slots may have come or gone.  ``found`` is what the store had of
    jobs that are over and that a new one follows.  ``kept`` says of the waiting jobs that were
    looked at whether something keeps them back, and ``copied`` has those that a node's copy does.
    """

    def __init__(self, base: Memory) -> None:
        self.base = base
        self.changed: dict[int, Job] = {}
        self.events: list[Event] = []
        self.last_job = base.last_job
        self.concerned: set[str] = set()
        self.capacity = False
        self.drains: dict[str, Drain | None] = {}
        self.found: dict[int, Followed] = {}
        self.signals: dict[TaskKey, tuple[Given, ...]] = {}
        self.litter: dict[LitterKey, Litter | None] = {}
        self.losses: Losses | None = None
        self.kept: dict[int, bool] = {}
        self.copied: set[int] = set()
        self._open_of: Counter[str] = Counter()
        self._tasks_of: Counter[str] = Counter()
        self._keys: dict[tuple[str, str], int] = {}

    @property
    def dirty(self) -> bool:
        """Whether there is anything in it that has to be made durable."""
        return bool(
            self.changed or self.drains or self.signals or self.litter or self.losses is not None
        )

    def job(self, number: int) -> Job | None:
        """The job, when it is not over or was changed in this draft."""
        return self.changed.get(number) or self.base.jobs.get(number)

    def followed(self, number: int) -> Followed | None:
        """What is known of a job that another one follows, be it over or not."""
        job = self.job(number)
        return Followed.of(job) if job else self.found.get(number) or self.base.followed.get(number)

    def open_jobs(self, user: str) -> int:
        """How many jobs of a user are not over."""
        return self.base.open_of[user] + self._open_of[user]

    def open_tasks_of(self, user: str) -> int:
        """How many tasks the jobs of a user have that are not over."""
        return self.base.tasks_of[user] + self._tasks_of[user]

    def of_key(self, user: str, key: str) -> Job | None:
        """The job of that key, when it was changed in this draft."""
        number = self._keys.get((user, key))
        return None if number is None else self.changed[number]

    def tasks_on(self, name: str) -> list[tuple[Job, Task]]:
        """As :meth:`Memory.tasks_on`, with the changes of this draft."""
        found = [each for each in self.base.tasks_on(name) if each[0].id not in self.changed]
        for job in self.changed.values():
            found += [(job, task) for task in job.open_tasks if task.node == name]
        return found

    def moving(self) -> list[Job]:
        """The jobs of which a migration is under way."""
        jobs = {number: self.base.jobs[number] for number in self.base.moving} | self.changed
        return [job for job in jobs.values() if under_way(job)]

    def drain_of(self, name: str) -> Drain | None:
        """Why a node is out of use, None when it is in use."""
        return self.drains[name] if name in self.drains else self.base.drained.get(name)

    def set_drain(self, name: str, drain: Drain | None, by: str, now: float) -> None:
        self.drains[name] = drain
        self.capacity = True
        reason = drain.reason if drain else ""
        said: dict[str, Any] = {"node": name, "by": by, "reason": reason}
        if drain is not None and drain.migrate:
            said["migrate"] = True
        self.events.append(Event(now, 0, "drain" if drain else "resume", said))

    def changed_tasks(self, job: Job) -> list[Task]:
        """Those of a changed job that are other than in the memory."""
        before = self.base.jobs.get(job.id)
        known = {id(task) for task in before.tasks} if before else ()
        return [task for task in job.tasks if id(task) not in known]

    @property
    def has_signals(self) -> bool:
        """Whether any task was given one."""
        return bool(self.base.signals or self.signals)

    def signals_of(self, task: TaskKey) -> tuple[Given, ...]:
        """The signals that a task was given."""
        found = self.signals.get(task)
        return self.base.signals.get(task, ()) if found is None else found

    def set_signals(self, task: TaskKey, rows: tuple[Given, ...]) -> None:
        self.signals[task] = rows

    def put(self, job: Job, now: float, kind: str, **document: Any) -> Job:
        before = self.job(job.id)
        self._open_of[job.user] += is_open(job) - is_open(before)
        self._tasks_of[job.user] += open_size(job) - open_size(before)
        if job.key is not None:
            self._keys[job.user, job.key] = job.id
        self.changed[job.id] = job
        self.events.append(Event(now, job.id, kind, {"state": job.state.value, **document}))
        return job

    def merge(self) -> frozenset[str]:
        """Let the memory follow, once the draft is durable; the nodes that are concerned."""
        concerned = set(self.concerned)
        self.base.followed.update(self.found)
        for job in self.changed.values():
            concerned |= nodes_of(self.base.jobs.get(job.id)) | nodes_of(job)
            self.base.adopt(job)
        self.base.waiting.settle(self.kept, self.copied)
        self.base.last_job = self.last_job
        for task, rows in self.signals.items():
            self.base.signals.pop(task, None)
            if rows:
                self.base.signals[task] = rows
        for key, litter in self.litter.items():
            self.base.litter.pop(key, None)
            if litter is not None:
                self.base.litter[key] = litter
        if self.litter:
            concerned |= self.base.nodes.keys()
        for name, drain in self.drains.items():
            self.base.drained.pop(name, None)
            if drain is not None:
                self.base.drained[name] = drain
        return frozenset(concerned)


def is_open(job: Job | None) -> bool:
    return job is not None and not job.state.final


def open_size(job: Job | None) -> int:
    """How many tasks a job has, none when it is over."""
    return job.size if job is not None and is_open(job) else 0


def under_way(job: Job | None) -> Migration | None:
    """The migration of a job that is not over."""
    if job is None or job.state.final or job.migration is None or job.migration.over:
        return None
    return job.migration


def nodes_of(job: Job | None) -> frozenset[str]:
    """The nodes with open tasks of a job, the one that it is on its way to, and those that are to
    take note of images of it."""
    if job is None:
        return frozenset()
    nodes = frozenset(task.node for task in job.open_tasks)
    for task in job.saved_tasks if not job.state.final else ():
        nodes |= {each.node for each in task.saved.kept if not each.noted}
    moving = under_way(job)
    return nodes | {moving.target} if moving else nodes


def key_of(job: Job, task: Task) -> TaskKey:
    """The unit that a task is in."""
    return job.id, task.unit, task.epoch


def name_of(job: Job, index: int) -> str:
    """A task in a sentence: the job itself, when it has no other."""
    return f"job {job.id}" if job.size == 1 else f"task {index} of job {job.id}"


def units(tasks: Iterable[tuple[Job, Task]]) -> dict[TaskKey, tuple[Job, list[Task]]]:
    """The units that tasks are in, each with its job and its tasks."""
    found: dict[TaskKey, tuple[Job, list[Task]]] = {}
    for job, task in tasks:
        found.setdefault(key_of(job, task), (job, []))[1].append(task)
    return found
