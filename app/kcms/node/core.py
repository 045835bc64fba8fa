"""What this node should do now: wanted tasks x records on disk x units of systemd -> instructions.

Pure, and called as often as one likes: it compares levels and keeps no memory of its own.  The
one rule that everything else leans on is the file ``started``: whoever makes it (a task's init,
or this daemon to refuse) decides once and for ever whether the program runs.  So a start that is
asked for twice runs once, and a task that was refused never runs.

The units must have been listed *before* the records were read: then a unit that is over without
an ``exit`` record proves that there will never be one.

    record, unit                                    phase
    refused                                         refused
    no started, whatever the unit                   launching
    started, unit alive                             running
    exit, unit over or gone                         ended (lost, when the node was being stopped)
    started, no exit, unit over or gone             lost

A manager decides on tasks of its own job store only.  Those of another store, and those that were
*disowned* because the store wants another job under their numbers, run to their end and stay on
record; a kill that was begun is finished.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from kcms.jobs.model import TIME_LIMIT, Exit, TaskReport, WantedTask, task_name
from kcms.jobs.signals import Signalled
from kcms.node import fitting, logues

TEMPORARY_FAILURE = 75
"""Exit status (sysexits.h EX_TEMPFAIL) of an init that could not begin, and may be tried again."""

START_ATTEMPTS = 3
BREAK_AFTER = 30.0
"""Seconds after SIGKILL until the whole unit, init included, is stopped."""

KILLED_EARLY = "killed before it was started"


class TaskId(NamedTuple):
    job: int
    task: int
    epoch: int
    store: str = ""

    def __str__(self) -> str:
        return task_name(*self)

    @classmethod
    def parse(cls, name: str) -> TaskId | None:
        """The task of that name, None for any other text."""
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        job, task, epoch, store = match.groups("")
        found = cls(int(job), int(task), int(epoch), store)
        return found if str(found) == name else None

    @classmethod
    def of(cls, task: TaskReport | WantedTask) -> TaskId:
        return cls(task.job, task.task, task.epoch, task.store)

    def same_job(self, other: TaskId) -> bool:
        """Whether the other is this task, of whatever epoch."""
        return (self.job, self.task, self.store) == (other.job, other.task, other.store)


_NAME = re.compile(r"([0-9]+)\.([0-9]+)\.([0-9]+)(?:-([0-9a-f]{8}))?")


@dataclass(frozen=True)
class Started:
    """When (seconds since the epoch, and of CLOCK_BOOTTIME) and in which boot a task began."""

    boot_id: str
    time: float
    boottime: float | None = None


@dataclass(frozen=True)
class Kill:
    """A kill under way; times are of CLOCK_BOOTTIME, in seconds, in boot ``boot_id``.

    ``cause`` says why this node kills it of its own accord.
    """

    boot_id: str
    deadline: float
    killed_at: float | None = None
    cause: str = ""


@dataclass(frozen=True)
class Record:
    """One task's directory.  ``damaged`` says why it cannot be read; the rest is then empty.

    ``stopped``: the node was being stopped (shutdown) while the program ran.  ``restoring``: it is
    to go on from an image, and its tree is not there yet; until then it is as if frozen.  ``spent``
    are the seconds that it ran on the nodes before this one.  ``exited`` is the boot time of its
    ``exit``, where its init told it.  ``ends`` has its ranks that are over.
    ``refused_for`` is the cause of a refusal that the manager has to know.  ``note`` says what was
    done to files for the task to go on from a checkpoint.
    """

    wanted: WantedTask | None = None
    started: Started | None = None
    exit: Exit | None = None
    stopped: bool = False
    refused: str | None = None
    kill: Kill | None = None
    damaged: str = ""
    disowned: bool = False
    restoring: bool = False
    spent: float = 0.0
    exited: float | None = None
    ends: Mapping[int, Exit] = field(default_factory=dict)
    signalled: Signalled = field(default_factory=Signalled)
    refused_for: str = ""
    note: str = ""
    logues: logues.Logues = logues.NONE


@dataclass(frozen=True)
class Unit:
    """A loaded unit: ``alive`` while its main process or anything in its cgroup is."""

    alive: bool
    status: int = 0


@dataclass(frozen=True)
class Fetched:
    """The image that a task is to begin from is here; or ``refusal`` says why it cannot begin from
    it, and ``cause`` whose fault that is (see :mod:`kcms.jobs.checkpoint`)."""

    refusal: str | None = None
    cause: str = ""


@dataclass(frozen=True)
class Prepare:
    """Make the record of a wanted task; ``refusal`` says why it shall never start, ``cause`` what
    its manager has to know of that."""

    wanted: WantedTask
    refusal: str | None = None
    cause: str = ""


@dataclass(frozen=True)
class Start:
    """Start the unit; ``reset``: one that ended before it began is still loaded."""

    task: TaskId
    reset: bool = False


@dataclass(frozen=True)
class Refuse:
    """See to it that the task never starts; nothing happens when it just did."""

    task: TaskId
    message: str


@dataclass(frozen=True)
class Terminate:
    """Record the kill, then SIGTERM to every process of the task."""

    task: TaskId
    grace: float
    cause: str = ""


@dataclass(frozen=True)
class KillNow:
    """SIGKILL to every process of the task."""

    task: TaskId


@dataclass(frozen=True)
class Break:
    """Stop the whole unit: its init does not do its work."""

    task: TaskId


@dataclass(frozen=True)
class Forget:
    """Unload the unit, then remove the record."""

    task: TaskId


@dataclass(frozen=True)
class Disown:
    """Put on record that no manager may decide on the task any more."""

    task: TaskId


Instruction = Prepare | Start | Refuse | Terminate | KillNow | Break | Forget | Disown


@dataclass(frozen=True)
class Snapshot:
    """Everything that is known at one moment.

    ``wanted`` is None until the manager has been heard; ``may_start`` is false when its word is
    too old to begin anything on it.  ``attempts`` counts starts of each task by this daemon.
    ``store`` is the job store of the manager that spoke last.  ``fetched`` has what came of
    bringing the images that tasks are to begin from, of those of which that is known.
    """

    wanted: Mapping[TaskId, WantedTask] | None
    records: Mapping[TaskId, Record]
    units: Mapping[TaskId, Unit]
    boot_id: str
    boottime: float
    may_start: bool = True
    forget: Set[TaskId] = frozenset()
    attempts: Mapping[TaskId, int] = field(default_factory=dict)
    store: str | None = None
    fetched: Mapping[TaskId, Fetched] = field(default_factory=dict)


def decide(now: Snapshot) -> list[Instruction]:
    """The instructions for ``now``, in the order in which they are to be carried out."""
    known = now.records.keys() | now.units.keys()
    wanted = now.wanted or {}
    instructions: list[Instruction] = []
    for task in sorted(known | wanted.keys()):
        if task in known:
            instructions += _of_known(now, task, wanted.get(task))
        else:
            instructions += _of_new(now, task, wanted[task])
    return instructions


def reports(now: Snapshot) -> tuple[TaskReport, ...]:
    """What is to be told of every task that is known here."""
    known = [_report(now, each) for each in sorted(now.records.keys() | now.units.keys())]
    return (*known, *_being_fetched(now), *_refused_as_taken(now))


def _being_fetched(now: Snapshot) -> Iterator[TaskReport]:
    """Wanted tasks whose image comes before anything of them is here."""
    for task, wanted in sorted((now.wanted or {}).items()):
        if wanted.image and may_begin(now, task):
            text = "its checkpoint is being brought here"
            yield TaskReport(*task[:3], "launching", message=text, store=task.store)


def _refused_as_taken(now: Snapshot) -> Iterator[TaskReport]:
    """Wanted tasks whose numbers another job's task has here."""
    for task, wanted in sorted((now.wanted or {}).items()):
        record = now.records.get(task)
        if record is not None and record.wanted is not None and record.disowned:
            yield TaskReport(
                *task[:3],
                phase="refused",
                message=f"this node has task {task} of {record.wanted.user} on record, another "
                f"job than this one of {wanted.user}: the manager's job store went back in time",
                store=task.store,
            )


def _taken(record: Record | None, wanted: WantedTask | None) -> bool:
    """Whether something else is wanted than what is on record under the same name.

    The end of a task that the manager has no open job for is wanted of nobody in particular.
    """
    there = record.wanted if record else None
    if there is None or wanted is None or not there.user or not wanted.user:
        return False
    return (there.user, there.uid, there.gid, there.spec) != (
        *(wanted.user, wanted.uid, wanted.gid),
        wanted.spec,
    )


def is_foreign(now: Snapshot, task: TaskId) -> bool:
    """Whether the manager that speaks has no say on the task."""
    record = now.records.get(task)
    return (record is not None and record.disowned) or (
        now.store is not None and task.store != now.store
    )


def _of_new(now: Snapshot, task: TaskId, wanted: WantedTask) -> Iterator[Instruction]:
    """A wanted task of which there is neither record nor unit."""
    newest = max((each.epoch for each in _others(now, task)), default=0)
    if wanted.want == "kill":
        yield Prepare(wanted, KILLED_EARLY)
    elif newest > task.epoch:
        yield Prepare(wanted, f"this node has epoch {newest} of the task already")
    elif now.may_start and may_begin(now, task):
        yield from _beginning(now, task, wanted)


def _others(now: Snapshot, task: TaskId) -> list[TaskId]:
    return [each for each in now.records.keys() | now.units.keys() if each.same_job(task)]


def may_begin(now: Snapshot, task: TaskId) -> bool:
    """Whether nothing is here of a wanted task, and nothing runs of its earlier epochs."""
    wanted, others = (now.wanted or {}).get(task), _others(now, task)
    if wanted is None or wanted.want != "run" or task in others:
        return False
    return all(each.epoch < task.epoch and phase(now, each) in FINAL for each in others)


def _beginning(now: Snapshot, task: TaskId, wanted: WantedTask) -> Iterator[Instruction]:
    found = now.fetched.get(task) if wanted.image else Fetched()
    if found is None:
        return
    yield Prepare(wanted, found.refusal, found.cause)
    if found.refusal is None:
        yield Start(task)


def _of_known(now: Snapshot, task: TaskId, wanted: WantedTask | None) -> Iterator[Instruction]:
    current, record = phase(now, task), now.records.get(task)
    if is_foreign(now, task):
        begun = record is not None and record.kill is not None
        if current == "running" and (begun or _is_over_time(now, task)):
            yield from _killing(now, task, None)
    elif _taken(record, wanted):
        yield Disown(task)
    elif current in FINAL:
        if task in now.forget:
            yield Forget(task)
    elif current == "launching":
        yield from _of_launching(now, task, wanted)
    elif _is_unwanted(now, task, wanted) or _is_over_time(now, task):
        yield from _killing(now, task, wanted)


def _of_launching(now: Snapshot, task: TaskId, wanted: WantedTask | None) -> Iterator[Instruction]:
    unit = now.units.get(task)
    if wanted is not None and wanted.want == "kill":
        yield Refuse(task, KILLED_EARLY)
    elif superseded(now, task):
        yield Refuse(task, "a newer epoch of the task is wanted")
    elif now.wanted is None or (unit is not None and unit.alive):
        return
    elif wanted is None:
        yield Refuse(task, "the manager no longer wanted it when it was to start")
    elif now.may_start:
        yield _start_again(now, task, unit)


def _start_again(now: Snapshot, task: TaskId, unit: Unit | None) -> Instruction:
    hopeless = unit is None or unit.status != TEMPORARY_FAILURE
    if hopeless and now.attempts.get(task, 0) >= START_ATTEMPTS:
        ended = f" with status {unit.status}" if unit else ""
        return Refuse(
            task, f"its unit ended{ended} before the program ran; the node's journal says why"
        )
    return Start(task, reset=unit is not None)


def _is_unwanted(now: Snapshot, task: TaskId, wanted: WantedTask | None) -> bool:
    """Whether a running task is to be killed, or a kill that was begun to be finished."""
    if wanted is not None and wanted.want == "kill":
        return True
    record = now.records.get(task)
    return (record is not None and record.kill is not None) or superseded(now, task)


def time_out(now: Snapshot, task: TaskId) -> float | None:
    """The boot time at which a running task has run for as long as it may; None for no limit."""
    record = now.records.get(task)
    if record is None or record.started is None or record.wanted is None or record.restoring:
        return None
    if record.exit is not None:
        return None
    limit, began = record.wanted.spec.get("time_limit"), record.started.boottime
    if not limit or began is None or record.started.boot_id != now.boot_id:
        return None
    return began + max(float(limit) - record.spent, 0.0)


def _is_over_time(now: Snapshot, task: TaskId) -> bool:
    end = time_out(now, task)
    return end is not None and now.boottime >= end and phase(now, task) == "running"


def next_end(now: Snapshot) -> float | None:
    """The boot time at which a task that runs has to be looked at, as its time is over or the grace
    of its kill is."""
    ends = []
    for task, record in now.records.items():
        end = time_out(now, task) if record.kill is None else record.kill.deadline
        if end is not None and phase(now, task) == "running":
            ends.append(end)
    return min(ends, default=None)


def superseded(now: Snapshot, task: TaskId) -> bool:
    return any(
        each.same_job(task) and each.epoch > task.epoch and wanted.want == "run"
        for each, wanted in (now.wanted or {}).items()
    )


def _killing(now: Snapshot, task: TaskId, wanted: WantedTask | None) -> Iterator[Instruction]:
    record = now.records.get(task)
    if record is None or record.damaged:
        yield Break(task)
        return
    told = wanted or record.wanted
    if record.kill is None and record.exit is not None:
        if now.boottime >= _stuck_at(record):
            yield Break(task)
    elif record.kill is None:
        asked = _is_unwanted(now, task, wanted)
        cause = TIME_LIMIT if not asked and _is_over_time(now, task) else ""
        yield Terminate(task, told.grace if told else 0.0, cause)
    elif record.kill.killed_at is not None and now.boottime >= _break_at(record):
        yield Break(task)
    elif now.boottime >= record.kill.deadline:
        yield KillNow(task)


def _break_at(record: Record) -> float:
    """The boot time at which a unit that was killed is stuck; an epilogue has its time first."""
    killed_at = record.kill.killed_at if record.kill else None
    return max(killed_at or 0.0, record.logues.until or 0.0) + BREAK_AFTER


def _stuck_at(record: Record) -> float:
    """The boot time at which a unit is stuck that has nothing but the site's epilogue to run."""
    until = record.logues.until
    if until is None:
        until = (record.exited or 0.0) + record.logues.seconds
    return until + BREAK_AFTER


FINAL = frozenset({"ended", "refused", "lost"})


def phase(now: Snapshot, task: TaskId) -> str:
    """One of :data:`kcms.jobs.model.PHASES`; see the table at the top."""
    unit = now.units.get(task)
    alive = unit is not None and unit.alive
    record = now.records.get(task)
    if record is None or record.damaged:
        return "running" if alive else "lost"
    if record.refused is not None and not alive:
        return "refused"
    if record.started is None:
        return "launching"
    if alive:
        return "running"
    return "ended" if record.exit is not None and not record.stopped else "lost"


def _report(now: Snapshot, task: TaskId) -> TaskReport:
    record = now.records.get(task) or Record()
    current = phase(now, task)
    return TaskReport(
        *task[:3],
        phase=current,
        store="" if record.disowned else task.store,
        start_time=record.started.time if record.started else None,
        exit=record.exit if current in FINAL else None,
        message=_message(now, task, current),
        cause=(record.kill.cause if record.kill else "") or record.refused_for,
        ends=record.ends if current in FINAL else fitting.early(record.ends),
        signalled=record.signalled.done,
        slots=_slots(record.wanted),
        memory=_memory(record.wanted),
        unfit=record.logues.why_unfit(task.job, now.boot_id) if current in FINAL else "",
        note=record.note,
    )


def _slots(wanted: WantedTask | None) -> int:
    """What the unit takes of this node, whoever wanted it."""
    if wanted is None:
        return 1
    return int(wanted.spec.get("cpus_per_task") or 1) * max(len(wanted.ranks), 1)


def _memory(wanted: WantedTask | None) -> int:
    if wanted is None:
        return 0
    return int(wanted.spec.get("memory") or 0) * max(len(wanted.ranks), 1)


def _message(now: Snapshot, task: TaskId, current: str) -> str:
    record = now.records.get(task)
    if record is not None and record.disowned:
        return f"disowned, named {task} on the node"
    if current == "refused":
        return (record.refused if record else None) or ""
    if current == "launching" and record is not None and record.logues.preparing:
        return "its prologue runs"
    if current != "lost":
        return ""
    if record is None:
        return "the record of the task is gone from the node"
    if record.damaged:
        return record.damaged
    if record.stopped:
        return "the node was being stopped while it ran"
    if record.started and record.started.boot_id != now.boot_id:
        return "the node went down while it ran"
    return "its init was killed, so nobody saw how it ended"
