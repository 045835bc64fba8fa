"""Jobs, tasks and what nodes say of them, as values; times are seconds since the epoch (UTC).

The ``document`` methods give the JSON of API version 1.  A job has the tasks 0 to N-1, one when it
is single.  A *task* is placed on a node; its *epoch* counts its placements, so that a late word
about an older one is known as such.  A node has its tasks in *units*: each is one task, but those
of a parallel job on one node, its *ranks* there, are one unit together, named by the first of them.
A unit is named by job, task and epoch and the id of the job store that gave these numbers: a store
that was made anew, or another manager's, gives the same ones to other jobs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from kcms.errors import ProtocolError
from kcms.jobs import ladder
from kcms.jobs.checkpoint import Image
from kcms.jobs.checkpointing import NONE, Saved
from kcms.jobs.members import Members, is_store
from kcms.jobs.migration import Migration, MoveReport
from kcms.jobs.processes import Process
from kcms.jobs.signals import Signal
from kcms.jobs.spec import task_count
from kcms.jobs.states import State, check_move


def task_name(job: int, task: int, epoch: int, store: str) -> str:
    """A task's name on its node: of its record, of its unit and in messages."""
    return f"{job}.{task}.{epoch}" + (f"-{store}" if store else "")


@dataclass(frozen=True)
class Exit:
    """How a task ended, as its init recorded it.

    ``code`` is the exit status, or None when ``signal`` ended it.  ``processes_killed`` counts
    what was still alive when the end was enforced, ``processes_left`` what was left after it.
    ``usage`` has the figures of :data:`USAGE` that are known, and ``sources``, a word for where
    those of ``cpu``, ``memory`` and ``io`` come from: cgroup, wait or sampled.
    ``cause`` and ``detail`` say why its init ended it, as :data:`MEMORY_LIMIT`.
    """

    code: int | None
    signal: int | None
    time: float
    processes_killed: int = 0
    processes_left: int = 0
    usage: dict[str, Any] = field(default_factory=dict)
    cause: str = ""
    detail: str = ""

    @classmethod
    def parse(cls, document: Any) -> Exit:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "exit record")
        return cls(
            code=row.whole_or_none("code"),
            signal=row.whole_or_none("signal"),
            time=row.number("time"),
            processes_killed=row.whole("processes_killed", 0),
            processes_left=row.whole("processes_left", 0),
            usage=_usage(row.table("usage", {})),
            cause=row.text("cause", ""),
            detail=row.text("detail", ""),
        )

    def document(self) -> dict[str, Any]:
        return dict(vars(self))


USAGE = (
    "cpu_seconds",
    "user_seconds",
    "system_seconds",
    "max_rss_kib",
    "read_bytes",
    "write_bytes",
)
"""What a task took: CPU time, memory of all its processes at the peak, and its input and output."""


def _usage(document: Any) -> dict[str, Any]:
    """What is known of it: a node may say more, and one of an earlier release says less."""
    row = Members(document, "usage of an exit record")
    found: dict[str, Any] = {
        name: row.number(name) if name.endswith("_seconds") else int(row.number(name))
        for name in USAGE
        if name in row.members
    }
    sources = Members(row.table("sources", {}), "sources of an exit record's usage")
    known = {name: sources.text(name) for name in SOURCES if name in sources.members}
    return found | ({"sources": known} if known else {})


SOURCES = ("cpu", "memory", "io")


@dataclass(frozen=True)
class Task:
    """One task of a job: where it is and how it went.

    ``first`` is the first rank of its unit, None when it is its unit alone.  One that waits to be
    begun anew is PENDING; ``restarts`` counts how often that was so.  ``lease`` is the one (in
    seconds) that its node was given for it, 0 for none.  ``saved`` is about its checkpoints.
    """

    index: int
    epoch: int
    node: str
    state: State
    start_time: float | None = None
    exit: Exit | None = None
    message: str = ""
    first: int | None = None
    killed_by: str | None = None
    restarts: int = 0
    lease: float = 0.0
    saved: Saved = NONE

    @property
    def unit(self) -> int:
        """The task under which its node has it."""
        return self.index if self.first is None else self.first

    @property
    def open(self) -> bool:
        """Whether it may be running."""
        return not self.state.final and self.state is not State.PENDING

    @property
    def is_to_end(self) -> bool:
        """Whether somebody had it killed, or begun anew."""
        return self.killed_by is not None or self.saved.restart_by is not None

    def document(self) -> dict[str, Any]:
        document = dict(vars(self))
        document["state"] = self.state.value
        document["exit"] = self.exit.document() if self.exit else None
        document["unit"] = self.unit
        document["checkpoint"] = self.saved.document()
        del document["first"], document["saved"]
        return document


@dataclass(frozen=True)
class Fate:
    """What a job is to become once what still runs of it is killed: a final state, or PENDING when
    it is to be begun anew."""

    state: State
    reason: str


@dataclass(frozen=True)
class Job:
    """A job as the manager knows it.  ``spec`` is what :func:`kcms.jobs.spec.check_spec` gave."""

    id: int
    cluster: str
    user: str
    uid: int
    gid: int
    spec: dict[str, Any]
    submit_host: str
    submit_time: float
    state: State = State.PENDING
    reason: str = ""
    start_time: float | None = None
    end_time: float | None = None
    key: str | None = None
    killed_by: str | None = None
    held_by: str | None = None
    tasks: tuple[Task, ...] = ()
    migration: Migration | None = None
    fate: Fate | None = None
    counted: Mapping[str, int] | None = None

    @property
    def priority(self) -> int:
        return int(self.spec["priority"])

    @property
    def job_class(self) -> str:
        return str(self.spec.get("class") or "single")

    @property
    def size(self) -> int:
        """How many tasks it has, placed or not."""
        return task_count(self.spec)

    @property
    def ending(self) -> bool:
        """Whether what runs of it is being killed."""
        return self.killed_by is not None or self.fate is not None

    @cached_property
    def open_tasks(self) -> tuple[Task, ...]:
        """What may be running; a job that waits or is over has nothing that does."""
        if self.state is State.PENDING or self.state.final:
            return ()
        return tuple(task for task in self.tasks if task.open)

    @cached_property
    def saved_tasks(self) -> tuple[Task, ...]:
        """Those with anything on record of checkpoints."""
        return tuple(task for task in self.tasks if task.saved is not NONE)

    @cached_property
    def resumes(self) -> bool:
        """Whether a task that waits goes on from an image."""
        return any(task.saved.resume and task.state is State.PENDING for task in self.saved_tasks)

    @cached_property
    def unplaced_count(self) -> int:
        """How many tasks wait for a node."""
        if self.state.final or self.ending:
            return 0
        return self.size - sum(task.state is not State.PENDING for task in self.tasks)

    def unplaced(self) -> Iterator[int]:
        """The indexes of the tasks that wait for a node, one after another: there may be many."""
        if not self.unplaced_count:
            return
        placed = (task.index for task in self.tasks if task.state is not State.PENDING)
        following = next(placed, None)
        for index in range(self.size):
            if index == following:
                following = next(placed, None)
            else:
                yield index

    @cached_property
    def counts(self) -> Mapping[str, int]:
        """How many tasks are in each state.  What waits of a job that is over never began."""
        if self.counted is not None:
            found = Counter(self.counted)
        else:
            found = Counter(task.state.value for task in self.tasks)
        waiting = self.size - sum(found.values()) + found.pop(State.PENDING.value, 0)
        if waiting:
            found[(State.CANCELLED if self.state.final else State.PENDING).value] += waiting
        return dict(found)

    def task(self, index: int) -> Task | None:
        """The task of that index, when it has ever been placed; tasks are in their order."""
        at = bisect_left(self.tasks, index, key=lambda task: task.index)
        found = self.tasks[at] if at < len(self.tasks) else None
        return found if found is not None and found.index == index else None

    def with_tasks(self, *changed: Task) -> tuple[Task, ...]:
        """Its tasks with these in their places."""
        tasks = list(self.tasks)
        for new in changed:
            at = bisect_left(tasks, new.index, key=lambda task: task.index)
            there = at < len(tasks) and tasks[at].index == new.index
            tasks[at : at + there] = [new]
        return tuple(tasks)

    def moved(self, after: State, **changes: Any) -> Job:
        """The job in another state.  :raises Conflict: when the table has no such move"""
        check_move(self.id, self.state, after)
        return replace(self, state=after, **changes)

    def document(self, with_tasks: bool = True) -> dict[str, Any]:
        """The job as API version 1 shows it."""
        document = {each.name: getattr(self, each.name) for each in fields(self)}
        del document["counted"], document["tasks"]
        document["spec"] = dict(self.spec)
        document["state"] = self.state.value
        document["fate"] = asdict(self.fate) if self.fate else None
        document["name"] = self.spec["name"]
        document["priority"] = self.priority
        if with_tasks:
            document["tasks"] = [task.document() for task in self.tasks]
        document["task_counts"] = dict(self.counts)
        document["migration"] = self.migration.document() if self.migration else None
        document["checkpoint"] = ladder.document(self)
        return document


MEMORY_LIMIT = "memory limit"
"""The cause of an end that a task's init brought about: it took more memory than it may."""

LEASE_OVER = "lease"
"""The cause of an end that a task's init brought about: its node was not heard for too long."""

TIME_LIMIT = "time limit"
"""The cause of an end that the node brought about, as the job had run for as long as it may."""

PROLOGUE = "prologue"
"""The cause of a refusal: the site's prologue failed, so that the job goes back to the queue."""

STAGING = "staging"
"""The cause of a refusal: a staged file could not be had now, but perhaps later or elsewhere."""

PHASES = ("launching", "running", "ended", "refused", "lost")


@dataclass(frozen=True)
class TaskReport:
    """What a node says of one task.

    ``phase``: *launching* (the unit may or may not run), *running*, *ended* (``exit`` is set),
    *refused* (never started; ``message`` says why), *lost* (started, and no record of its end).
    ``cause`` says why its node ends or ended it by itself, as :data:`TIME_LIMIT`, or refused it, as
    :data:`PROLOGUE`.  ``suspended``: it is frozen, as its manager wishes.  ``ends`` has the ranks
    of the unit that ended already.  ``unfit``, of a task that is over, says why its node is to get
    nothing new: its prologue or epilogue failed.  ``signalled`` is the highest number of a signal
    that its node has dealt with.  It takes ``slots``, and ``memory`` in MiB was promised to it.
    ``note`` is one line for the job's owner on how it was begun from an image.
    """

    job: int
    task: int
    epoch: int
    phase: str
    start_time: float | None = None
    exit: Exit | None = None
    message: str = ""
    store: str = ""
    cause: str = ""
    suspended: bool = False
    ends: Mapping[int, Exit] = field(default_factory=dict)
    signalled: int = 0
    slots: int = 1
    memory: int = 0
    unfit: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        return task_name(self.job, self.task, self.epoch, self.store)

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> TaskReport:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "task report")
        record = row.members.get("exit")
        report = cls(
            job=row.whole("job"),
            task=row.whole("task"),
            epoch=row.whole("epoch"),
            phase=row.text("phase"),
            start_time=row.number_or_none("start_time"),
            exit=None if record is None else Exit.parse(record),
            message=row.text("message", ""),
            store=row.store(),
            cause=row.text("cause", ""),
            suspended=row.members.get("suspended") is True,
            ends=_ends(row.table("ends", {})),
            signalled=row.whole("signalled", 0),
            slots=row.whole("slots", 1),
            memory=row.whole("memory", 0),
            unfit=row.text("unfit", ""),
            note=row.text("note", ""),
        )
        if report.phase not in PHASES:
            raise ProtocolError(f"not a task report: {report.phase!r:.100} is no phase")
        return report


def _ends(document: dict[str, Any]) -> dict[int, Exit]:
    found = {}
    for name, each in document.items():
        if not (name.isascii() and name.isdigit() and len(name) < 10):
            raise ProtocolError(f"not a task report: {name!r:.100} is no rank")
        found[int(name)] = Exit.parse(each)
    return found


FIRST_WANTED = frozenset(
    ("job", "task", "epoch", "want", "user", "uid", "gid", "spec", "grace", "store")
)
"""What the first release knows of a wanted task."""


@dataclass(frozen=True)
class WantedTask:
    """What the manager wants of one unit on a node: that it runs, or that it is killed.

    ``suspend``: while it runs, it is to stand still.  ``ranks`` are the tasks in it, just ``task``
    when there are none; ``hosts`` has the node of each rank of the whole job, when it is parallel.
    ``restarts`` counts how often it was begun before.  ``lease``: seconds after which it is not to
    run any more when the manager was not heard, 0 for never.  ``signals`` are those that the node
    has not said to have dealt with, in the order of their numbers.  ``image``: it is not to be
    begun from its beginning, but from this one.
    """

    job: int
    task: int
    epoch: int
    want: str  # "run" or "kill"
    user: str
    uid: int
    gid: int
    spec: dict[str, Any]
    grace: float = 5.0
    store: str = ""
    suspend: bool = False
    ranks: tuple[int, ...] = ()
    hosts: tuple[str, ...] = ()
    restarts: int = 0
    lease: float = 0.0
    signals: tuple[Signal, ...] = ()
    image: Image | None = None

    def document(self) -> dict[str, Any]:
        """Without members that say nothing: the first release takes none that it does not know.

        So a member that came later must mean nothing while it is empty.
        """
        members = {**asdict(self), "ranks": list(self.ranks), "hosts": list(self.hosts)}
        return {name: value for name, value in members.items() if value or name in FIRST_WANTED}

    @classmethod
    def parse(cls, document: Any) -> WantedTask:
        """What a newer manager says more is passed over.

        :raises ProtocolError: not such a document
        """
        try:
            known = cls.__dataclass_fields__.keys() & document.keys()
            listed = {name: tuple(document[name]) for name in ("ranks", "hosts") if name in known}
            signals = tuple(Signal.parse(each) for each in document.get("signals", ()))
            image = document.get("image")
            values = {
                **{name: document[name] for name in known},
                **listed,
                "signals": signals,
                "image": None if image is None else Image.parse(image),
            }
            wanted = cls(**values)
        except (TypeError, AttributeError) as error:
            raise ProtocolError(f"not a wanted task: {error}") from error
        if wanted.want not in ("run", "kill"):
            raise ProtocolError(f"a task can be wanted 'run' or 'kill', not {wanted.want!r}")
        if not is_store(wanted.store):
            raise ProtocolError(f"a store is named by 8 hexadecimal digits, not {wanted.store!r}")
        return wanted


HANGUP = "hangup"
"""The cause of an end that a task's init brought about: nobody is attached to it any more."""

SUSPEND, LIMITS, TASKS, LEASE = "suspend", "limits", "tasks", "lease"
SIGNALS, ATTACH, STAGE, CHECKPOINT = "signals", "attach", "stage", "checkpoint"
ABILITIES = (SUSPEND, LIMITS, TASKS, LEASE, SIGNALS, ATTACH, STAGE, CHECKPOINT)
THROUGH_GATEWAY = (ATTACH, STAGE)
"""What takes a gateway on the node: through it people are attached to interactive jobs, and staged
files come."""

LIMITED = ("time_limit", "memory", "rss_limit")
"""Fields of a specification that a node has to keep to, which takes the ability LIMITS."""

MOVER = ("machine", "kernel", "criu", "trouble")
"""What a node says of its means to move jobs."""


REPORT_LIMIT = 256 * 1024
"""Bytes of a node's report as JSON; the API takes no longer body (kcms.http.BODY_LIMIT)."""


@dataclass(frozen=True)
class NodeReport:
    """What a node daemon says of its node: ``load`` has load_one (float), cpu_num (int),
    mem_total and mem_free (KB), all as the monitor names them.

    ``mover`` says whether jobs can be moved from and to here: ``machine`` (x86_64), ``kernel``,
    ``criu`` (its version), and ``trouble``, a sentence that is empty when all is well.  It is empty
    for a release that cannot move jobs at all.  ``abilities`` are words for what a node's release
    can do beyond the first one, as :data:`SUSPEND`.
    """

    boot_id: str
    release: str
    slots: int
    load: dict[str, float]
    tasks: tuple[TaskReport, ...] = ()
    moves: tuple[MoveReport, ...] = ()
    processes: tuple[Process, ...] = ()
    mover: dict[str, str] = field(default_factory=dict)
    abilities: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> NodeReport:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "node report")
        load = Members(row.members.get("load"), "load of a node report")
        mover = Members(row.table("mover", {}), "mover of a node report")
        return cls(
            boot_id=row.text("boot_id"),
            release=row.text("release"),
            slots=row.whole("slots"),
            load={name: load.number(name) for name in load.members},
            tasks=tuple(TaskReport.parse(each) for each in row.rows("tasks")),
            moves=tuple(MoveReport.parse(each) for each in row.rows("moves")),
            processes=tuple(Process.parse(each) for each in row.rows("processes")),
            mover={name: mover.text(name) for name in MOVER if name in mover.members},
            abilities=tuple(each for each in ABILITIES if each in row.rows("abilities")),
        )
