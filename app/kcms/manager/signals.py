"""Signals to running jobs: who may give which, and what becomes of those that were given.  Pure.

A signal is durable before it is answered, and is wanted of its node until that has dealt with it.
It belongs to one placement of a task: what has not come to it when that ends or moves never does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from kcms.errors import Conflict, InvalidRequest, NotFound
from kcms.jobs.model import SIGNALS, Job, NodeReport, Task
from kcms.jobs.processes import Process
from kcms.jobs.signals import NAMES, Signal, signal_name
from kcms.jobs.states import State
from kcms.manager.memory import Draft, Memory, TaskKey, key_of, name_of, under_way, units
from kcms.manager.rows import Event
from kcms.manager.signal_rows import Given, dealt_with

MOST_WAITING = 16
"""Signals of one task that its node has not dealt with yet."""

KEPT = 16
"""Signals of one task that are remembered after its node has dealt with them."""


@dataclass(frozen=True)
class Asked:
    """What a caller wants: ``name`` to the whole job, to one ``task``, or to the process with
    ``pid`` on ``node``, which is killed after the grace when ``kill`` is set."""

    name: str
    key: str
    task: int | None = None
    node: str | None = None
    pid: int | None = None
    kill: bool = False


def asked(body: dict[str, Any], key: str) -> Asked:
    """What the body of a request says.  :raises InvalidRequest: it cannot be meant"""
    text, task, process = body.get("signal"), body.get("task"), body.get("process")
    name = signal_name(text) if isinstance(text, str) else None
    if name is None:
        raise InvalidRequest(f"{text!r:.100} is no signal; there are {', '.join(NAMES)}")
    if task is not None and not _is_number(task):
        raise InvalidRequest(f"task must be the number of a task, or null, not {task!r:.100}")
    kill = body.get("kill", False)
    if not isinstance(kill, bool):
        raise InvalidRequest(f"kill must be true or false, not {kill!r:.100}")
    if process is None:
        if kill:
            raise InvalidRequest("kill goes with a process; a whole job is ended by its call kill")
        return Asked(name, key, task)
    return Asked(name, key, task, *_process(process), kill)


def _process(document: Any) -> tuple[str, int]:
    members = document if isinstance(document, dict) else {}
    node, pid = members.get("node"), members.get("pid")
    known = members.keys() == {"node", "pid"} and isinstance(node, str)
    if not known or not isinstance(pid, int) or not _is_number(pid):
        raise InvalidRequest("process must have a node, its name, and a pid, a number")
    return str(node), pid


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 53


def ask(draft: Draft, job: Job, wanted: Asked, by: str, now: float) -> Job:
    """Give a signal to a job that runs, or stands still; given once already, nothing is done.

    :raises Conflict: it does not run, or cannot be reached now
    :raises NotFound: it has no such task or process
    """
    if is_given(draft, job, wanted.key):
        return job
    trouble = _why_not(job)
    if trouble:
        raise Conflict(f"job {job.id} {trouble}")
    process = _process_of(draft, job, wanted)
    meant = _meant(job, wanted, process)
    _check_stays(job, meant)
    for task in meant:
        _check_reached(draft, job, task)
    for task in meant:
        _give(draft, job, task, wanted, process)
    told = {"signal": wanted.name, "task": wanted.task, "node": wanted.node, "pid": wanted.pid}
    document = {"state": job.state.value, **told, "by": by}
    draft.events.append(Event(now, job.id, "signal", document))
    return job


def is_given(draft: Draft, job: Job, key: str) -> bool:
    """Whether a request of that key was made before, as far as is remembered."""
    return any(each.key == key for unit in _units(job) for each in draft.signals_of(unit))


def _units(job: Job) -> dict[TaskKey, list[Task]]:
    """What may be running of a job: its units, each with its tasks that are not over."""
    return {key: tasks for key, (_, tasks) in units((job, each) for each in job.open_tasks).items()}


def _why_not(job: Job) -> str:
    if job.state not in (State.RUNNING, State.SUSPENDED):
        return f"is {job.state.value}: only a job that runs can be signalled"
    if job.killed_by is not None:
        return f"is being killed by {job.killed_by}"
    if job.ending:
        return f"is being ended: {job.reason}"
    return ""


def _check_stays(job: Job, meant: list[Task]) -> None:
    """:raises Conflict: one of those that are meant is on its way to another node"""
    moving = under_way(job)
    if moving is None or moving.check_only or all(each.index != moving.task for each in meant):
        return
    way = f"from {moving.source} to {moving.target}"
    raise Conflict(f"{name_of(job, moving.task)} is being moved {way}: try again then")


def _process_of(draft: Draft, job: Job, wanted: Asked) -> Process | None:
    """:raises NotFound: none that is alive, as its node said last"""
    if wanted.pid is None or wanted.node is None:
        return None
    found = draft.base.processes.alive(wanted.node, wanted.pid)
    if found is None or found.job != job.id or wanted.task not in (None, found.index):
        what = f"job {job.id}" if wanted.task is None else f"task {wanted.task} of job {job.id}"
        raise NotFound(
            f"{what} has no process {wanted.pid} on {wanted.node!r:.100}, as far as that node has "
            "said"
        )
    return found


def _meant(job: Job, wanted: Asked, process: Process | None) -> list[Task]:
    """A task of each unit that is meant, all of which have begun.

    :raises NotFound: there is no such task  :raises Conflict: none that runs
    """
    there = _units(job)
    if process is not None:
        there = {key: t for key, t in there.items() if key[1:] == (process.task, process.epoch)}
    elif wanted.task is not None:
        if wanted.task >= job.size:
            most = job.size - 1
            raise NotFound(f"job {job.id} has the tasks 0 to {most}, and no task {wanted.task}")
        there = {
            key: tasks
            for key, tasks in there.items()
            if any(each.index == wanted.task for each in tasks)
        }
    firsts = [tasks[0] for tasks in there.values() if not tasks[0].is_to_end]
    begun = [each for each in firsts if each.start_time is not None]
    if begun:
        return begun
    what = f"job {job.id}" if wanted.task is None else f"task {wanted.task} of job {job.id}"
    if firsts:
        raise Conflict(f"{what} is still being started on {firsts[0].node}: try again then")
    raise Conflict(f"{what} does not run")


def _check_reached(draft: Draft, job: Job, task: Task) -> None:
    """:raises Conflict: the node cannot do it, or is not heard"""
    node = draft.base.nodes.get(task.node)
    if node is None or node.report is None or not draft.base.is_up(node):
        raise Conflict(f"job {job.id} runs on {task.node}, which is not heard")
    if SIGNALS not in node.report.abilities:
        raise Conflict(
            f"job {job.id} runs on {task.node}, whose release cannot send signals: run the site "
            "playbook for it"
        )
    waiting = sum(not each.done for each in draft.signals_of(key_of(job, task)))
    if waiting >= MOST_WAITING:
        raise Conflict(f"{waiting} signals are on their way to {task.node} already: try again then")


def _give(draft: Draft, job: Job, task: Task, wanted: Asked, process: Process | None) -> None:
    key = key_of(job, task)
    is_rank = process is None and job.job_class == "parallel"
    rows = draft.signals_of(key)
    signal = Signal(
        number=1 + max(_last(rows), _dealt_with(draft, task.node, key)),
        name=wanted.name,
        pid=process.pid if process else None,
        birth=process.birth if process else None,
        grace=draft.base.rules.kill_grace if wanted.kill else None,
        rank=wanted.task if is_rank else None,
    )
    draft.set_signals(key, (*rows, Given(signal, wanted.key)))
    draft.concerned.add(task.node)


def _last(rows: tuple[Given, ...]) -> int:
    return max((each.signal.number for each in rows), default=0)


def _dealt_with(draft: Draft, name: str, key: TaskKey) -> int:
    """What the node said last: a store that was restored may not know how far it was."""
    report = draft.base.nodes[name].report
    said = report.tasks if report else ()
    return max(
        (each.signalled for each in said if (each.job, each.task, each.epoch) == key), default=0
    )


def follow(draft: Draft, name: str, said: NodeReport) -> None:
    """Take from a node's report which signals it has dealt with."""
    if not draft.has_signals:
        return
    here = {key_of(job, task) for job, task in draft.tasks_on(name)}
    for each in said.tasks:
        key = (each.job, each.task, each.epoch)
        if each.store != draft.base.store or key not in here:
            continue
        rows = draft.signals_of(key)
        if any(not row.done and row.signal.number <= each.signalled for row in rows):
            draft.set_signals(key, dealt_with(rows, each.signalled, KEPT))
            draft.concerned.add(name)


def tidy(draft: Draft) -> None:
    """Drop what was given to tasks that this draft ended or moved; before it is made durable."""
    if not draft.has_signals:
        return
    for key in _of_jobs(draft):
        if key not in _units(draft.changed[key[0]]):
            draft.set_signals(key, ())


def _of_jobs(draft: Draft) -> Iterator[TaskKey]:
    """The tasks of changed jobs that have signals."""
    for key in draft.base.signals.keys() | draft.signals.keys():
        if key[0] in draft.changed and draft.signals_of(key):
            yield key


def wanted_of(memory: Memory, key: TaskKey) -> tuple[Signal, ...]:
    """The signals to a unit that its node has not dealt with yet."""
    return tuple(each.signal for each in memory.signals.get(key, ()) if not each.done)


def is_waiting(draft: Draft, job: Job, task: Task) -> bool:
    """Whether its node has not yet dealt with a signal to the task."""
    return any(not each.done for each in draft.signals_of(key_of(job, task)))
