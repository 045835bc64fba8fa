"""What is done to the record of a job's checkpoints, below everything that asks for it.  Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from kcms.jobs.checkpointing import Kept, Saved
from kcms.jobs.model import Job, Task
from kcms.jobs.states import State
from kcms.manager.litter_rows import Litter
from kcms.manager.memory import Draft

GONE_BEFORE = "the task ended, or is being ended, before it was made"


def next_number(job: Job) -> int:
    """A number that no move of the job ever had: of a migration, or of a checkpoint."""
    moved = job.migration.number if job.migration else 0
    return 1 + max([moved, *(task.saved.last for task in job.saved_tasks)])


def put(draft: Draft, job: Job, task: Task, saved: Saved, what: str, now: float) -> Job:
    """The job with another record of a task's checkpoints."""
    after = replace(job, tasks=job.with_tasks(replace(task, saved=saved)))
    return draft.put(after, now, "checkpoint", task=task.index, what=what, message=saved.failure)


def stop(draft: Draft, job: Job, index: int, why: str, now: float) -> Job:
    """The job with no checkpoint of that task under way: its node undoes what there is of it."""
    task = job.task(index)
    if task is None or task.saved.saving is None:
        return job
    return put(draft, job, task, task.saved.failed(why, now), "failed", now)


def discard(draft: Draft, job: Job, task: Task, gone: Iterable[Kept], now: float) -> Task:
    """The task, once images of it that are off its record are to be removed."""
    images = tuple(gone)
    if not images:
        return task
    given = [number for of, number in draft.litter if of == job.id]
    number = max([next_number(replace(job, tasks=job.with_tasks(task))), *(1 + n for n in given)])
    after, row = removal(job, task, images, number, now)
    draft.litter[row.key] = row
    draft.capacity = True
    return after


def removal(
    job: Job, task: Task, images: tuple[Kept, ...], number: int, now: float
) -> tuple[Task, Litter]:
    """The task, and the row by which images that are off its record are removed.

    :param number: of the row among the moves of the job
    """
    paths = tuple(each.image.path for each in images)
    epoch = images[0].epoch
    row = Litter(job.id, number, task.index, epoch, paths, now, job.user, job.uid, job.gid)
    return replace(task, saved=replace(task.saved, last=number)), row


def emptied(job: Job, now: float) -> tuple[Job, list[Litter]]:
    """A job that is over without an image on record, and what removes those that it had."""
    rows = []
    for task in job.saved_tasks:
        saved, gone = task.saved.without_any()
        after = replace(task, saved=saved)
        if gone:
            after, row = removal(job, after, gone, next_number(job), now)
            rows.append(row)
        job = replace(job, tasks=job.with_tasks(after))
    return job, rows


def tidy(draft: Draft, now: float) -> None:
    """Whatever became of a job in this round: nothing is saved of what ends, and no image is kept
    that nothing will begin from."""
    for job in list(draft.changed.values()):
        for task in job.saved_tasks:
            job = _tidied(draft, job, task, now)
        if job is not draft.changed[job.id]:
            draft.changed[job.id] = job


def _tidied(draft: Draft, job: Job, task: Task, now: float) -> Job:
    saved = task.saved
    if job.state.final or not (task.open or (task.state is State.PENDING and saved.resume)):
        if not (saved.kept or saved.saving or saved.resume or saved.restart_by):
            return job
        after, gone = saved.without_any()
        tidied = discard(draft, job, replace(task, saved=after), gone, now)
        return replace(job, tasks=job.with_tasks(tidied))
    if saved.saving is not None and (job.ending or task.is_to_end or not task.open):
        failed = replace(task, saved=saved.failed(GONE_BEFORE, now))
        return replace(job, tasks=job.with_tasks(failed))
    return job
