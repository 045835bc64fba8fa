"""Keeping jobs back: waiting ones are held, running ones suspended.  Pure, as :mod:`.core`."""

from __future__ import annotations

from dataclasses import replace

from kcms.errors import Conflict, Forbidden
from kcms.jobs.model import SUSPEND, Job
from kcms.jobs.states import State
from kcms.manager import ending, migrations
from kcms.manager.core import Caller
from kcms.manager.memory import Draft, under_way


def hold(draft: Draft, caller: Caller, job: Job, now: float) -> Job:
    """Keep a waiting job back; one that root holds only root releases.

    :raises Conflict: it does not wait
    """
    if job.state is not State.PENDING:
        raise Conflict(f"job {job.id} is {job.state.value}: only a job that waits can be held")
    if job.held_by == caller.user or (job.held_by and not caller.grid_root):
        return job
    return draft.put(replace(job, held_by=caller.user), now, "hold", by=caller.user)


def release(draft: Draft, caller: Caller, job: Job, now: float) -> Job:
    """Let a held job go its way.  :raises Forbidden: root holds it, and this is not root"""
    if job.held_by is None or job.state is not State.PENDING:
        return job
    _check_releases(caller, job, "held", "release")
    return draft.put(replace(job, held_by=None), now, "release", by=caller.user)


def suspend(draft: Draft, caller: Caller, job: Job, now: float) -> Job:
    """Let a running job stand still; its slot stays taken.

    :raises Conflict: it does not run, or cannot be suspended now
    """
    if job.state is State.SUSPENDED:
        if caller.grid_root and job.held_by != caller.user:
            return draft.put(replace(job, held_by=caller.user), now, "suspend", by=caller.user)
        return job
    trouble = _why_not_suspended(draft, job)
    if trouble:
        raise Conflict(f"job {job.id} {trouble}")
    job = migrations.unchecked(draft, job, False, now)
    asked = job.moved(
        State.SUSPENDED, held_by=caller.user, reason=f"being suspended by {caller.user}"
    )
    return draft.put(asked, now, "suspend", by=caller.user)


def _why_not_suspended(draft: Draft, job: Job) -> str:
    if job.state is not State.RUNNING:
        return f"is {job.state.value}: only a job that runs can be suspended"
    if job.killed_by is not None:
        return f"is being killed by {job.killed_by}"
    if job.ending:
        return f"is being ended: {job.reason}"
    moving = under_way(job)
    if moving is not None and not moving.check_only:
        return f"is being moved from {moving.source} to {moving.target}"
    for task in job.open_tasks:
        node = draft.base.nodes.get(task.node)
        if task.start_time is None and job.job_class != "batch":  # of which some always begins
            return f"is still being started on {task.node}: try again then"
        if node is None or node.report is None or not draft.base.is_up(node):
            return f"runs on {task.node}, which is not heard"
        if SUSPEND not in node.report.abilities:
            return (
                f"runs on {task.node}, whose release cannot suspend jobs: run the site playbook "
                "for it"
            )
    return ""


def resume(draft: Draft, caller: Caller, job: Job, now: float) -> Job:
    """Let a suspended job go on.  :raises Forbidden: root suspended it, and this is not root"""
    if job.state is not State.SUSPENDED:
        return job
    _check_releases(caller, job, "suspended", "resume")
    asked = job.moved(State.RUNNING, held_by=None, reason="being resumed")
    return draft.put(asked, now, "resume job", by=caller.user)


def requeue(draft: Draft, caller: Caller, job: Job, now: float) -> Job:
    """End what runs of a job, and let it wait again.  :raises Conflict: it does not run"""
    return ending.requeue(draft, job, caller.user, now)


def _check_releases(caller: Caller, job: Job, was: str, verb: str) -> None:
    if job.held_by != job.user and not caller.grid_root:
        raise Forbidden(f"job {job.id} is {was} by {job.held_by}, who alone may {verb} it")
