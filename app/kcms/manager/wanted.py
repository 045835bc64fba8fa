"""What the manager wants of a node now: tasks that run or end, and steps of moves.

Pure, and of the memory alone: what a draft decided counts once it is durable.
"""

from __future__ import annotations

from dataclasses import replace

from kcms.jobs.migration import Migration, WantedMove
from kcms.jobs.model import Job, Task, WantedTask
from kcms.jobs.states import State
from kcms.manager import checkpoints, restarting
from kcms.manager.memory import Memory, TaskKey, key_of, under_way, units
from kcms.manager.migrations import epoch_on, step_of
from kcms.manager.signals import wanted_of

BEFORE = {"admit": "check", "dump": "admit", "restore": "dump"}
"""The step whose answer is handed to a step."""


def wanted_tasks(memory: Memory, name: str) -> list[WantedTask]:
    """What the manager wants of a node now: its tasks, and the end of what it should not have."""
    wanted = []
    for job, tasks in units(memory.tasks_on(name)).values():
        if not _is_to_be_named(memory, name, job, tasks[0]):
            wanted.append(_wanted(memory, job, tasks))
    node = memory.nodes.get(name)
    if node is not None and node.report is not None and not node.report.abilities:
        wanted = [replace(each, restarts=0) for each in wanted]  # the first release refuses it
    for key, orphan in node.orphans.items() if node else ():
        if not _may_be_wanted(memory, name, key):
            wanted.append(WantedTask(*key, "kill", "", -1, -1, {}, orphan.grace, memory.store))
    return wanted


def _wanted(memory: Memory, job: Job, tasks: list[Task]) -> WantedTask:
    """A unit, with the tasks in it that are not over."""
    first, parallel = tasks[0], job.job_class == "parallel"
    ranks = [task.index for task in job.tasks if task.unit == first.unit] if parallel else ()
    unwanted = job.ending or first.is_to_end
    return WantedTask(
        job=job.id,
        task=first.unit,
        epoch=first.epoch,
        want="kill" if unwanted else "run",
        user=job.user,
        uid=job.uid,
        gid=job.gid,
        spec=job.spec,
        grace=restarting.grace(first, memory.rules.kill_grace),
        store=memory.store,
        suspend=job.state is State.SUSPENDED,
        ranks=tuple(ranks),
        hosts=tuple(task.node for task in job.tasks) if parallel else (),
        restarts=first.restarts,
        lease=first.lease,
        signals=() if unwanted else wanted_of(memory, key_of(job, first)),
        image=None if parallel else first.saved.image,
    )


def _is_to_be_named(memory: Memory, name: str, job: Job, task: Task) -> bool:
    """Whether a restored store must hear of a task first: its node may have run and forgotten it,
    and would begin it once more."""
    key = key_of(job, task)
    if key not in memory.unsure or job.ending:
        return False
    node = memory.nodes.get(name)
    said = node.report.tasks if node and node.report else ()
    return not any(
        (each.job, each.task, each.epoch, each.store) == (*key, memory.store) for each in said
    )


def _may_be_wanted(memory: Memory, name: str, key: TaskKey) -> bool:
    """Whether what is durable knows a task that a draft took for an orphan: it was not kept."""
    job = memory.jobs.get(key[0])
    if job is None:
        return False
    if any((*key_of(job, task), task.node) == (*key, name) for task in job.open_tasks):
        return True
    moving = under_way(job)
    copy = (moving.target, job.id, moving.task, moving.epoch) if moving else None
    return copy == (name, *key)


def wanted_moves(memory: Memory, name: str) -> list[WantedMove]:
    """The steps that are wanted of a node now."""
    wanted = []
    for number in sorted(memory.placed.get(name, ())):
        job = memory.jobs[number]
        moving = under_way(job)
        step = step_of(moving, name) if moving else None
        if moving is not None and step is not None:
            task = job.task(moving.task)
            assert task is not None, "what moves has its place"
            wanted.append(_move(memory, job, task, moving, step, name))
    return [*wanted, *checkpoints.wanted_moves(memory, name)]


def _move(
    memory: Memory, job: Job, task: Task, moving: Migration, step: str, name: str
) -> WantedMove:
    return WantedMove(
        job=job.id,
        task=task.index,
        epoch=epoch_on(moving, task, name),
        store=memory.store,
        number=moving.number,
        step=step,
        source=moving.source,
        target=moving.target,
        user=job.user,
        uid=job.uid,
        gid=job.gid,
        spec=job.spec,
        restarts=task.restarts,
        lease=task.lease,
        data=moving.told.get(BEFORE.get(step, ""), {}),
    )
