"""Tasks that begin anew: from which image, where, and who may ask for it.  Pure, on a draft.

"Restart from Check Point": a task whose node was lost, that a signal ended, or of which somebody
asked it, goes on from its newest image that can be used; one that saves itself begins from its
beginning and finds what it saved.  That a node could not begin it from an image is no restart.
"""

from __future__ import annotations

from dataclasses import replace

from kcms.errors import Conflict, NotFound
from kcms.jobs import ladder
from kcms.jobs.checkpoint import NO_IMAGE, NOT_HERE
from kcms.jobs.checkpointing import NONE, Kept, Saved
from kcms.jobs.model import Job, Task
from kcms.jobs.spec import save_interval
from kcms.jobs.states import State
from kcms.manager import migrations, saves
from kcms.manager.memory import Draft, name_of

FROM_BEGINNING = "it was begun from its beginning: "
ASK_AGAIN = 600.0
"""Seconds after which nodes are asked again that said that a task cannot go on there."""


def ask(draft: Draft, job: Job, index: int | None, by: str, now: float) -> Job:
    """Have the running tasks of a job that were saved begin anew, or one of them.

    :raises Conflict: nothing of it can  :raises NotFound: there is no such task
    """
    _check(job)
    if index is not None and not 0 <= index < job.size:
        raise NotFound(f"job {job.id} has the tasks 0 to {job.size - 1}, and no task {index}")
    tasks = [task for task in job.open_tasks if index in (None, task.index)]
    troubles = [_trouble(job, task) for task in tasks]
    able = [task for task, trouble in zip(tasks, troubles, strict=True) if not trouble]
    if not able:
        why = next(iter(troubles), "no such task of it runs")
        raise Conflict(f"job {job.id} cannot be restarted from a checkpoint: {why}")
    for task in able:
        job = migrations.stop(draft, job, f"it was restarted by {by}", now, task.index)
    asked = [replace(task, saved=replace(task.saved, restart_by=by)) for task in able]
    reason = f"being restarted by {by}" if job.size == 1 else job.reason
    after = replace(job, tasks=job.with_tasks(*asked), reason=reason)
    return draft.put(after, now, "restart", by=by, tasks=[task.index for task in able])


def _check(job: Job) -> None:
    """:raises Conflict: nothing of the job can be restarted now"""
    why = ladder.impossible(job.spec)
    if job.state not in (State.RUNNING, State.SUSPENDED):
        why = f"it is {job.state.value}, and only a job that runs can be"
    elif job.killed_by is not None:
        why = f"it is being killed by {job.killed_by}"
    elif job.ending:
        why = f"it is being ended: {job.reason}"
    if why:
        raise Conflict(f"job {job.id} cannot be restarted from a checkpoint: {why}")


def _trouble(job: Job, task: Task) -> str:
    if task.killed_by is not None:
        return f"{name_of(job, task.index)} is being killed by {task.killed_by}"
    if is_asked(task):
        return f"{name_of(job, task.index)} is being restarted by {task.saved.restart_by} already"
    if task.start_time is None:
        return f"{name_of(job, task.index)} is still being started: try again then"
    if task.saved.newest is None and not saves_itself(job):
        return "it has none; kcms requeue begins it from its beginning"
    return ""


def saves_itself(job: Job) -> bool:
    return bool(job.spec.get("checkpoint_signal") or job.spec.get("restart_from_checkpoint"))


def is_asked(task: Task) -> bool:
    """Whether it is to end to be begun anew."""
    return task.saved.restart_by is not None


def is_done(task: Task, completed: bool) -> bool:
    """Whether what ended was asked to begin anew, and does so.

    One that is killed at once and has completed nevertheless had done so before.
    """
    return is_asked(task) and not (completed and task.saved.newest is not None)


def after_signal(job: Job, task: Task) -> bool:
    """Whether it begins anew when a signal ended it."""
    if job.spec.get("restart_from_checkpoint"):
        return True
    saved = task.saved.newest is not None or bool(job.spec.get("checkpoint_signal"))
    return saved and save_interval(job.spec) is not None


def grace(task: Task, usual: float) -> float:
    """Seconds that a task has to end: none when nothing that it does meanwhile would last."""
    return 0.0 if is_asked(task) and task.saved.newest is not None else usual


# what becomes of its images ----------------------------------------------------------------------


def waiting(draft: Draft, job: Job, task: Task, cause: str, why: str, now: float) -> Task:
    """The task with what is on record of its checkpoints, as it is to be begun anew.

    :param cause: of the refusal to begin it from an image, empty when there was none
    """
    if task.saved is NONE:
        return task
    saved, gone = _after(job, task, cause, why)
    return saves.discard(draft, job, replace(task, saved=saved), gone, now)


def _after(job: Job, task: Task, cause: str, why: str) -> tuple[Saved, tuple[Kept, ...]]:
    saved = task.saved
    if job.fate is not None:
        return saved.without_any(f"{FROM_BEGINNING}{why}")
    if cause == NOT_HERE:
        return saved.not_on(task.node).waiting(), ()
    if cause == NO_IMAGE and saved.image is not None:
        less, gone = saved.without(saved.image.number)
        lost = f"checkpoint {saved.image.number} cannot be used: {why}"
        return less.waiting(lost if less.kept else f"{FROM_BEGINNING}{lost}"), gone
    if saved.newest is None and not saves_itself(job):
        return saved.waiting(f"{FROM_BEGINNING}it had no checkpoint"), ()
    return saved.waiting(), ()


def begun(task: Task, note: str) -> Task:
    """The task once it runs, with a word on how it was begun; ``note`` is what its node says."""
    image = task.saved.image
    if image is None:
        return task
    earlier = [task.saved.note] if task.saved.note else []
    told = [*earlier, f"it went on from checkpoint {image.number}", *filter(None, [note])]
    return replace(task, saved=replace(task.saved, note="; ".join(told)))


def forget(draft: Draft, job: Job, by: str, now: float) -> Job:
    """A job that waits, none of whose tasks goes on from an image any more."""
    for task in job.saved_tasks:
        if task.state is State.PENDING and task.saved.resume:
            after, gone = task.saved.without_any(f"{FROM_BEGINNING}requeued by {by}")
            there = saves.discard(draft, job, replace(task, saved=after), gone, now)
            job = replace(job, tasks=job.with_tasks(there))
    return draft.put(job, now, "requeue", by=by)


def tick(draft: Draft, listened: float, now: float) -> None:
    """Let time pass: nodes that refused an image may take it by and by."""
    memory = draft.base
    for number, waited in list(memory.resuming.items()):
        memory.resuming[number] = waited + listened
        job = draft.job(number)
        if waited + listened >= ASK_AGAIN and job is not None:
            memory.resuming[number] = 0.0
            _ask_again(draft, job, now)


def _ask_again(draft: Draft, job: Job, now: float) -> None:
    refused = [
        replace(task, saved=task.saved.anywhere())
        for task in job.saved_tasks
        if task.state is State.PENDING and task.saved.newest and task.saved.newest.not_on
    ]
    if refused:
        draft.put(replace(job, tasks=job.with_tasks(*refused)), now, "restart", by="")
