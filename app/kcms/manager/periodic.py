"""Checkpoints that are made because it is time for them.  Pure, on a draft.

The time between two is that in which the manager listened.  When it starts it knows of none, and
takes it from the wall clock, which may have been set: so not more than one interval is believed.
"""

from __future__ import annotations

from dataclasses import replace

from kcms.errors import Conflict
from kcms.jobs import ladder
from kcms.jobs.model import Job, Task
from kcms.jobs.states import State
from kcms.manager import checkpoints, saves
from kcms.manager.memory import Draft, under_way

BY = "its interval"
"""Who asks for them."""


def tick(draft: Draft, now: float, listened: float) -> None:
    """Let time pass, and have saved what it is time for."""
    ages: dict[tuple[int, int, int], float] = {}
    for number in sorted(draft.base.periodic):
        job = draft.job(number)
        for task in job.open_tasks if job is not None else ():
            assert job is not None
            every = ladder.seconds_between(job, task)
            if every is None or task.start_time is None:
                continue
            age = _age(draft, job, task, every, now, listened)
            if age >= every and _can(draft, job, task):
                job, age = _due(draft, job, task, now), 0.0
            ages[job.id, task.index, task.epoch] = age
    draft.base.ages = ages


def _age(draft: Draft, job: Job, task: Task, every: float, now: float, listened: float) -> float:
    """Seconds since the task was saved, or tried to be, or began here."""
    known = draft.base.ages.get((job.id, task.index, task.epoch))
    if known is None:
        last = max(task.start_time or now, task.saved.last_time or 0.0)
        return min(max(0.0, now - last), every)
    return known + (listened if job.state is State.RUNNING else 0.0)


def _can(draft: Draft, job: Job, task: Task) -> bool:
    """Whether nothing that passes by itself is in the way."""
    memory, node = draft.base, draft.base.nodes.get(task.node)
    quiet = job.state is State.RUNNING and not job.ending and under_way(job) is None
    heard = node is not None and memory.is_up(node)
    return quiet and heard and task.saved.saving is None and not task.is_to_end


def _due(draft: Draft, job: Job, task: Task, now: float) -> Job:
    try:
        return checkpoints.ask(draft, job, task.index, BY, now)
    except Conflict as error:
        saved = task.saved.failed(error.message, now)
        if replace(saved, failure_time=task.saved.failure_time) == task.saved:
            return job  # which is told already
        return saves.put(draft, job, task, saved, "failed", now)
