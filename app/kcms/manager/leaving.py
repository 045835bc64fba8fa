"""Nodes that are to be empty: what leaves them, what waits for room, what stays and why.  Pure.

A node that is drained with ``migrate`` keeps what runs there only as long as nobody can have it.
Every round looks at it before it places what waits: a node that is to be empty goes before a queue
that never is.  At most :data:`AT_ONCE` tasks of a node move at a time, each to the node that a new
task like it would get; one that was refused is asked for again after a pause that grows with every
refusal.  What the pauses are is not remembered over a restart of the manager, that the node is to
be empty is; why the last move of a job was refused stands in the job's record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from kcms.errors import KcmsError, NotFound
from kcms.jobs import placement
from kcms.jobs.migration import Migration
from kcms.jobs.model import Job, Task
from kcms.jobs.needs import Demand
from kcms.manager import migrations, nodes
from kcms.manager.memory import Draft, Memory, Tried, under_way
from kcms.manager.rows import Drain
from kcms.manager.signals import is_waiting

AT_ONCE = 2
"""Tasks of one node that are on their way at the same time."""

FIRST_PAUSE, LONGEST_PAUSE = 30.0, 600.0
"""Seconds after a refusal, the double after each further one."""

REFUSING = 3
"""Nodes that refused a task lately, after which it stays where it is for a while."""

STATES = ("moving", "waiting", "staying")
_MOVING, _WAITING, _STAYING = STATES
_READY = "ready"


@dataclass(frozen=True)
class Outlook:
    """What is to be said of a task on such a node: one of :data:`STATES` (or that it may go at
    once), a sentence, and where it goes.  ``again`` is in how many seconds it is tried again."""

    state: str
    message: str
    target: str | None = None
    again: float | None = None


# what leaves -------------------------------------------------------------------------------------


def tick(draft: Draft, listened: float) -> None:
    """Let time pass, as far as the manager listened."""
    for tried in draft.base.tried.values():
        tried.pauses = {
            name: pause - listened for name, pause in tried.pauses.items() if pause > listened
        }


def go(draft: Draft, now: float) -> None:
    """Have leave what can leave now."""
    drains = _drains(draft)
    _forget(draft, drains)
    for name, drain in drains.items():
        _note(draft, name, drain)
        left = AT_ONCE - _moving_from(draft, name)
        if left > 0:
            _go_from(draft, name, drain, left, now)


def _go_from(draft: Draft, name: str, drain: Drain, left: int, now: float) -> None:
    there, rooms = _units(draft, name), Rooms(draft)
    there.sort(key=lambda each: (_tried(draft, name, *each).count, each[0].id, each[1].index))
    for number, index in [(job.id, task.index) for job, task in there]:
        job = draft.job(number)
        task = job.task(index) if job else None
        if job is None or task is None:
            continue
        seen = _look(draft, rooms, name, job, task)
        if seen.state != _READY or seen.target is None:
            continue
        tried = draft.base.tried.setdefault((name, number, index), Tried())
        try:
            migrations.ask(draft, job, seen.target, drain.by, False, now, index)
        except KcmsError as error:  # which placement does not know of: not to be tried every round
            _pause(tried, "", error.message)
            continue
        rooms, left = Rooms(draft), left - 1
        if not left:
            return


def _drains(draft: Draft) -> dict[str, Drain]:
    """The nodes that are to be empty."""
    drains = {**draft.base.drained, **draft.drains}
    return {name: each for name, each in sorted(drains.items()) if each and each.migrate}


def _moving_from(draft: Draft, name: str) -> int:
    moves = [under_way(job) for job in draft.moving()]
    return sum(each is not None and not each.check_only and each.source == name for each in moves)


def _units(draft: Draft, name: str) -> list[tuple[Job, Task]]:
    return sorted(draft.tasks_on(name), key=lambda each: (each[0].id, each[1].index))


# what was refused --------------------------------------------------------------------------------


def _forget(draft: Draft, drains: dict[str, Drain]) -> None:
    """What was tried of tasks that are not there any more, or of nodes that need not be empty."""
    if not draft.base.tried:
        return
    there = {(name, job.id, task.index) for name in drains for job, task in draft.tasks_on(name)}
    for key in draft.base.tried.keys() - there:
        del draft.base.tried[key]


def _tried(draft: Draft, name: str, job: Job, task: Task) -> Tried:
    return draft.base.tried.get((name, job.id, task.index)) or Tried()


def _note(draft: Draft, name: str, drain: Drain) -> None:
    """Remember the moves that came to nothing since the node is to be empty."""
    for job, task in draft.tasks_on(name):
        moving, key = job.migration, (name, job.id, task.index)
        if moving is None or (moving.source, moving.task) != (name, task.index):
            continue
        asked = key in draft.base.tried or moving.start_time >= drain.time
        if moving.check_only or moving.phase not in ("refused", "failed") or not asked:
            continue
        tried = draft.base.tried.setdefault(key, Tried())
        if tried.number != moving.number:
            tried.number = moving.number
            _pause(tried, _who_refused(moving, tried), moving.message)


def _who_refused(moving: Migration, tried: Tried) -> str:
    """The node that is not asked for a while; "" for none: it is the task that cannot leave."""
    by_target = moving.phase == "refused" and moving.message.startswith(f"{moving.target}: ")
    return moving.target if by_target and len(tried.pauses) < REFUSING else ""


def _pause(tried: Tried, whom: str, message: str) -> None:
    tried.message = message
    tried.pauses[whom] = min(FIRST_PAUSE * 2 ** min(tried.count, 10), LONGEST_PAUSE)
    tried.count += 1
    tried.refused[whom] += 1


# what is in its way ------------------------------------------------------------------------------


class Rooms:
    """Where there is room, and where there would be if nothing ran there, as of one draft."""

    def __init__(self, draft: Draft) -> None:
        self._partitions = draft.base.rules.partitions
        self._now = nodes.candidates(draft)
        self._empty = [replace(each, used=0, promised=0) for each in self._now]
        self._known: dict[tuple[Demand, bool], tuple[list[str], str]] = {}

    def now(self, job: Job) -> tuple[list[str], str]:
        """The nodes with room for a task of the job, best first, or why there is none."""
        return self._targets(job, False)

    def ever(self, job: Job) -> tuple[list[str], str]:
        """The same, if no other task ran anywhere."""
        return self._targets(replace(job, tasks=()), True)

    def _targets(self, job: Job, empty: bool) -> tuple[list[str], str]:
        wanted = Demand.of(job)
        known = None if wanted.per_node is not None else self._known.get((wanted, empty))
        if known is None:
            there = self._empty if empty else self._now
            known = placement.targets(job, there, self._partitions)
            self._known[wanted, empty] = known
        return known


def _look(draft: Draft, rooms: Rooms, name: str, job: Job, task: Task) -> Outlook:
    """How it stands with a task on a node that is to be empty."""
    moving = under_way(job)
    if moving is not None:
        return _on_its_way(moving, task)
    if job.ending or task.killed_by is not None:
        return Outlook(_WAITING, "it is being ended")
    if task.start_time is None:
        return Outlook(_WAITING, "it is still being started")
    try:
        migrations.movable(job, task.index)
    except KcmsError as error:
        return Outlook(_STAYING, error.message)
    if is_waiting(draft, job, task):
        return Outlook(_WAITING, "a signal is on its way to it")
    if task.saved.saving is not None:
        return Outlook(_WAITING, "a checkpoint of it is being made")
    tried = _tried(draft, name, job, task)
    if "" in tried.pauses:
        return Outlook(_STAYING, tried.message, again=tried.pauses[""])
    return _where(draft, rooms, job, task, tried)


def _on_its_way(moving: Migration, task: Task) -> Outlook:
    if moving.check_only:
        return Outlook(_WAITING, f"it is being checked for a move to {moving.target}")
    if moving.task != task.index:
        return Outlook(_WAITING, f"task {moving.task} of its job moves first")
    return Outlook(_MOVING, f"it moves to {moving.target}: {moving.phase}", moving.target)


def _where(draft: Draft, rooms: Rooms, job: Job, task: Task, tried: Tried) -> Outlook:
    """Of a task that could leave: where to, what it waits for, or why nobody takes it."""
    room, why = rooms.now(job)
    target = next(_taking(draft, job, task, room, tried), None)
    if target is not None:
        return Outlook(_READY, "it goes next", target)
    ever, never = rooms.ever(job)
    if next(_taking(draft, job, task, ever, tried), None) is not None:
        return Outlook(_WAITING, why or "no node with room for it can take it now")
    if tried.pauses:
        return Outlook(_STAYING, tried.message, again=min(tried.pauses.values()))
    against = (migrations.obstacle(draft, job, task, each) for each in ever[:1])
    return Outlook(_STAYING, next(against, None) or never)


def _taking(draft: Draft, job: Job, task: Task, targets: list[str], tried: Tried) -> Iterator[str]:
    """Those of the nodes that nothing is known against; who refused it least comes first."""
    for each in sorted(targets, key=lambda each: tried.refused[each]):
        if each not in tried.pauses and migrations.obstacle(draft, job, task, each) is None:
            yield each


# what is said ------------------------------------------------------------------------------------


def document(memory: Memory, name: str, user: str | None) -> dict[str, Any]:
    """What is on a node that is to be empty, as API version 1 shows it.

    :param user: whose tasks; None is everybody's  :raises NotFound: there is no such node
    """
    draft = Draft(memory)
    if name not in memory.nodes and name not in memory.drained:
        raise NotFound(f"there is no node {name!r:.100} in cluster {memory.cluster}")
    leaving, rooms = name in _drains(draft), Rooms(draft)
    mine = [each for each in _units(draft, name) if user in (None, each[0].user)]
    rows = [_row(job, task, _look(draft, rooms, name, job, task)) for job, task in mine if leaving]
    return {"node": name, "leaving": leaving, "tasks": rows}


def _row(job: Job, task: Task, seen: Outlook) -> dict[str, Any]:
    ready = seen.state == _READY
    return {
        "job": job.id,
        "task": task.index,
        "size": job.size,
        "user": job.user,
        "state": _WAITING if ready else seen.state,
        "target": None if ready else seen.target,
        "message": seen.message,
        "again": None if seen.again is None else round(seen.again, 1),
    }
