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
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import NamedTuple

from kcms.jobs.model import Exit, TaskReport, WantedTask

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

    def __str__(self) -> str:
        return f"{self.job}.{self.task}.{self.epoch}"


@dataclass(frozen=True)
class Started:
    """When (seconds since the epoch) and in which boot a task began."""

    boot_id: str
    time: float


@dataclass(frozen=True)
class Kill:
    """A kill under way; times are of CLOCK_BOOTTIME, in seconds, in boot ``boot_id``."""

    boot_id: str
    deadline: float
    killed_at: float | None = None


@dataclass(frozen=True)
class Record:
    """One task's directory.  ``damaged`` says why it cannot be read; the rest is then empty.

    ``stopped``: the node was being stopped (shutdown) while the program ran.
    """

    wanted: WantedTask | None = None
    started: Started | None = None
    exit: Exit | None = None
    stopped: bool = False
    refused: str | None = None
    kill: Kill | None = None
    damaged: str = ""


@dataclass(frozen=True)
class Unit:
    """A loaded unit: ``alive`` while its main process or anything in its cgroup is."""

    alive: bool
    status: int = 0


@dataclass(frozen=True)
class Prepare:
    """Make the record of a wanted task; ``refusal`` says why it shall never start."""

    wanted: WantedTask
    refusal: str | None = None


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


Instruction = Prepare | Start | Refuse | Terminate | KillNow | Break | Forget


@dataclass(frozen=True)
class Snapshot:
    """Everything that is known at one moment.

    ``wanted`` is None until the manager has been heard; ``may_start`` is false when its word is
    too old to begin anything on it.  ``attempts`` counts starts of each task by this daemon.
    """

    wanted: Mapping[TaskId, WantedTask] | None
    records: Mapping[TaskId, Record]
    units: Mapping[TaskId, Unit]
    boot_id: str
    boottime: float
    may_start: bool = True
    forget: Set[TaskId] = frozenset()
    attempts: Mapping[TaskId, int] = field(default_factory=dict)


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
    return tuple(_report(now, each) for each in sorted(now.records.keys() | now.units.keys()))


def _of_new(now: Snapshot, task: TaskId, wanted: WantedTask) -> Iterator[Instruction]:
    """A wanted task of which there is neither record nor unit."""
    others = [each for each in now.records.keys() | now.units.keys() if each[:2] == task[:2]]
    newest = max((each.epoch for each in others), default=0)
    if wanted.want == "kill":
        yield Prepare(wanted, KILLED_EARLY)
    elif newest > task.epoch:
        yield Prepare(wanted, f"this node has epoch {newest} of the task already")
    elif now.may_start and all(phase(now, each) in FINAL for each in others):
        yield Prepare(wanted)
        yield Start(task)


def _of_known(now: Snapshot, task: TaskId, wanted: WantedTask | None) -> Iterator[Instruction]:
    current = phase(now, task)
    if current in FINAL:
        if task in now.forget:
            yield Forget(task)
    elif current == "launching":
        yield from _of_launching(now, task, wanted)
    elif _is_unwanted(now, task, wanted):
        yield from _killing(now, task, wanted)


def _of_launching(now: Snapshot, task: TaskId, wanted: WantedTask | None) -> Iterator[Instruction]:
    unit = now.units.get(task)
    if wanted is not None and wanted.want == "kill":
        yield Refuse(task, KILLED_EARLY)
    elif _superseded(now, task):
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
    return (record is not None and record.kill is not None) or _superseded(now, task)


def _superseded(now: Snapshot, task: TaskId) -> bool:
    return any(
        each[:2] == task[:2] and each.epoch > task.epoch and wanted.want == "run"
        for each, wanted in (now.wanted or {}).items()
    )


def _killing(now: Snapshot, task: TaskId, wanted: WantedTask | None) -> Iterator[Instruction]:
    record = now.records.get(task)
    if record is None or record.damaged:
        yield Break(task)
        return
    told = wanted or record.wanted
    if record.kill is None:
        yield Terminate(task, told.grace if told else 0.0)
    elif record.kill.killed_at is not None and now.boottime >= record.kill.killed_at + BREAK_AFTER:
        yield Break(task)
    elif now.boottime >= record.kill.deadline:
        yield KillNow(task)


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
        *task,
        phase=current,
        start_time=record.started.time if record.started else None,
        exit=record.exit if current in FINAL else None,
        message=_message(now, task, current),
    )


def _message(now: Snapshot, task: TaskId, current: str) -> str:
    record = now.records.get(task)
    if current == "refused":
        return (record.refused if record else None) or ""
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
