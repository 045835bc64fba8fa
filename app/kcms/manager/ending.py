"""How tasks end, and what that makes of their job.  Pure, as :mod:`.core`.

A task that is over makes its job over when it was the last one.  Before that it may end the others
with it (the job's *fate*, which waits until they are killed), or be begun anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from kcms.errors import Conflict
from kcms.jobs.checkpoint import NO_IMAGE, NOT_HERE
from kcms.jobs.model import (
    HANGUP,
    LEASE_OVER,
    MEMORY_LIMIT,
    PROLOGUE,
    STAGING,
    TIME_LIMIT,
    Exit,
    Fate,
    Job,
    Task,
    TaskReport,
)
from kcms.jobs.needs import is_restartable
from kcms.jobs.spec import duration_text, is_interactive
from kcms.jobs.states import State
from kcms.manager import migrations, restarting
from kcms.manager.memory import Draft, key_of, under_way

WORST = (State.FAILED, State.NODE_FAIL, State.TIMEOUT, State.CANCELLED)
"""What a job with several tasks ends as, when one of them did."""


@dataclass(frozen=True)
class End:
    """How one task ended: its state, why, what its node recorded, and when it had begun.

    ``unready``: it never began, as its node could not be made ready for it; ``unstaged``: nor as a
    file of it could not be brought there now.  ``unheard``: nobody said so; its node is silent, or
    knows nothing of it.  ``unusable``: the image that it was to go on from could not be used, with
    the cause of :mod:`kcms.jobs.checkpoint`.  ``note``: how it had begun from an image.
    """

    state: State
    reason: str
    exit: Exit | None = None
    message: str = ""
    start_time: float | None = None
    unready: bool = False
    unheard: bool = False
    unstaged: bool = False
    unusable: str = ""
    note: str = ""


def end_of(job: Job, task: Task, said: TaskReport) -> End:
    """The end of a task that is over on its node."""
    record = said.ends.get(task.index, said.exit)
    state, reason = _verdict(job, task, said, record)
    cause = said.cause if said.phase == "refused" else ""
    return End(
        *(state, reason, record, said.message, said.start_time),
        unready=cause == PROLOGUE,
        unstaged=cause == STAGING,
        unusable=cause if task.saved.image and cause in (NO_IMAGE, NOT_HERE) else "",
        note=said.note,
    )


def _verdict(job: Job, task: Task, said: TaskReport, record: Exit | None) -> tuple[State, str]:
    if task.index in said.ends and record is not None and record.code == 0:
        return State.COMPLETED, ""  # a rank that was over before the others were killed
    if said.cause == TIME_LIMIT and said.phase in ("running", "ended"):  # its unit may run on
        limit = job.spec.get("time_limit")
        told = f" of {duration_text(limit)}" if limit else ""
        return State.TIMEOUT, f"the time limit{told} was reached"
    if record is not None and record.cause == MEMORY_LIMIT and said.phase != "lost":
        return State.FAILED, record.detail or "it took more memory than it may"
    killed_by = job.killed_by or task.killed_by
    if killed_by is not None and said.phase != "lost":
        return State.CANCELLED, f"killed by {killed_by}"
    if said.phase == "refused":
        return State.FAILED, f"{task.node}: {said.message}"
    if record is not None and restarting.is_done(task, not record.signal and not record.code):
        return State.FAILED, f"restarted by {task.saved.restart_by}"
    if record is None:
        return State.NODE_FAIL, f"{task.node}: {said.message or 'the task was lost'}"
    if record.cause == HANGUP and said.phase == "ended":
        return State.CANCELLED, record.detail or "nobody is attached to it any more"
    if record.cause == LEASE_OVER:
        return State.NODE_FAIL, f"{task.node}: {record.detail}"
    return _verdict_of_exit(job, record)


def _verdict_of_exit(job: Job, record: Exit) -> tuple[State, str]:
    if not record.signal and not record.code:
        return State.COMPLETED, ""
    if job.fate is not None:
        return State.CANCELLED, job.fate.reason
    if record.signal:
        return State.FAILED, f"ended by signal {record.signal}"
    return State.FAILED, f"exit status {record.code}"


def end(draft: Draft, number: int, ends: Mapping[int, End], now: float) -> None:
    """Take the ends of tasks of a job, and decide what that makes of it."""
    job = draft.job(number)
    if job is None or job.state.final:
        return
    over = {task.index: task for task in job.open_tasks if task.index in ends}
    if not over:
        return
    changed, fate = [], job.fate
    for index, task in over.items():
        anew = _begins_anew(draft, job, task, ends[index])
        end = ends[index]
        changed.append(_waiting(draft, job, task, end, now) if anew else _ended(task, end))
        fate = fate or _fate(job, task, ends[index], anew)
    job = _stop_migration(draft, job, ends, fate, now)
    began = [each.start_time for each in changed if each.start_time is not None]
    after = replace(
        job,
        tasks=job.with_tasks(*changed),
        start_time=job.start_time or min(began, default=None),
        fate=fate,
        reason=_reason_meanwhile(job, fate),
    )
    _conclude(draft, after, ends, now)


def _stop_migration(
    draft: Draft, job: Job, ends: Mapping[int, End], fate: Fate | None, now: float
) -> Job:
    """The job without a migration of what ended, or is to end; those of its other tasks go on."""
    moving = under_way(job)
    if moving is None:
        return job
    if moving.task in ends:
        said = ends[moving.task]
        what = "the job" if job.size == 1 else f"task {moving.task}"
        return migrations.stop(draft, job, f"{what} ended: {said.reason or said.state.value}", now)
    why = f"the job is being ended: {fate.reason}" if fate else ""
    return migrations.stop(draft, job, why, now) if why else job


def _ended(task: Task, end: End) -> Task:
    """The task that is over; between two reports it may have begun as well."""
    if task.start_time is None and end.start_time is not None:
        task = restarting.begun(task, end.note)
    return replace(
        task,
        state=end.state,
        exit=end.exit,
        message=end.message or end.reason,
        start_time=end.start_time or task.start_time,
    )


def _waiting(draft: Draft, job: Job, task: Task, end: End, now: float) -> Task:
    """A task that is to be begun anew."""
    return replace(
        restarting.waiting(draft, job, task, end.unusable, end.reason, now),
        state=State.PENDING,
        node="",
        start_time=None,
        exit=None,
        message=end.reason,
        first=None,
        restarts=task.restarts + (not end.unready and not end.unusable),
    )


def _begins_anew(draft: Draft, job: Job, task: Task, end: End) -> bool:
    if job.killed_by is not None or task.killed_by is not None:
        return False
    if job.fate is not None and job.fate.state is not State.PENDING:
        return False
    if end.unready or end.unusable:
        return True
    asked = restarting.is_asked(task) and not end.unheard
    back = end.state is State.NODE_FAIL and not end.unheard and task.saved.newest is not None
    if end.state is State.NODE_FAIL and not is_restartable(job) and not asked and not back:
        return False  # without a lease it may still run
    if end.unheard and not _is_sure(draft, job, task):
        return False
    if job.fate is not None:
        return end.state is not State.COMPLETED
    if restarting.is_done(task, end.state is State.COMPLETED):
        return True
    if not (is_restartable(job) or back) or task.restarts >= draft.base.rules.max_restarts:
        return False
    signalled = end.exit is not None and end.exit.signal is not None and not end.exit.cause
    if end.unstaged or end.state is State.NODE_FAIL:
        return True
    return end.state is State.FAILED and signalled and restarting.after_signal(job, task)


def _is_sure(draft: Draft, job: Job, task: Task) -> bool:
    """Whether a task of which nothing is heard runs nowhere any more.

    It had a lease, and its placement is not one of a restored store that its node never named: that
    one may have ended, or have been begun anew elsewhere, since the copy was made.
    """
    return task.lease > 0 and key_of(job, task) not in draft.base.unsure


def _fate(job: Job, task: Task, end: End, anew: bool) -> Fate | None:
    """What the end of one task makes of the others."""
    parallel = job.job_class == "parallel"
    if end.state is State.COMPLETED or job.killed_by is not None:
        return None
    if anew:
        return Fate(State.PENDING, end.reason) if parallel else None
    policy = job.spec.get("task_failure") or ("end" if parallel else "continue")
    if job.size == 1 or policy != "end" or task.killed_by is not None:
        return None
    return Fate(end.state, f"task {task.index}: {end.reason}")


def _reason_meanwhile(job: Job, fate: Fate | None) -> str:
    if job.killed_by is not None or fate is None:
        return job.reason
    return f"{fate.reason}; its other tasks are being ended"


def _conclude(draft: Draft, job: Job, ends: Mapping[int, End], now: float) -> None:
    """Put the job on record with what it now is."""
    index, said = next(iter(ends.items()))
    task = job.task(index)
    told = {"node": task.node if task else "", "tasks": sorted(ends)}
    if job.open_tasks or (job.unplaced_count and any(task.state.final for task in job.tasks)):
        draft.put(job, now, "task", **told)
    elif job.unplaced_count or (job.fate is not None and job.fate.state is State.PENDING):
        _requeue(draft, job, said, now)
    else:
        state, reason = _of_job(job, said)
        times = [each.exit.time for each in job.tasks if each.exit]
        over = job.moved(
            state, reason=reason, end_time=max(times) if said.exit and times else now, fate=None
        )
        draft.put(over, now, "end", **told)


def _requeue(draft: Draft, job: Job, said: End, now: float) -> None:
    """The job waits again, all of it when its tasks run together."""
    reason = job.fate.reason if job.fate else said.reason
    tasks = job.tasks
    whole = all(task.state.final for task in tasks) and len(tasks) == job.size
    parallel = job.job_class == "parallel"
    if whole or (parallel and any(task.state is State.NODE_FAIL for task in tasks)):
        state, reason = _of_job(replace(job, fate=None), said)
        draft.put(job.moved(state, reason=reason, fate=None, end_time=now), now, "end")
        return
    if parallel:
        tasks = tuple(
            _waiting(draft, job, task, said, now) if task.state.final else task for task in tasks
        )
    if any(task.state.final for task in tasks):
        draft.put(replace(job, fate=None, tasks=tasks, reason=""), now, "requeue")
        return
    again = job.moved(State.PENDING, fate=None, tasks=tasks, start_time=None, reason=reason)
    draft.put(again, now, "requeue", reason=reason)


def _of_job(job: Job, said: End) -> tuple[State, str]:
    """State and reason of a job of which nothing is left to run."""
    if job.size == 1:
        return said.state, said.reason
    if job.killed_by is not None:
        return State.CANCELLED, f"killed by {job.killed_by}"
    if job.fate is not None:
        return job.fate.state, job.fate.reason
    bad = [task for task in job.tasks if task.state.final and task.state is not State.COMPLETED]
    if not bad:
        return State.COMPLETED, ""
    state = next(each for each in WORST if any(task.state is each for task in bad))
    first = next(task for task in bad if task.state is state)
    told = f"{len(bad)} of {job.size} tasks did not complete; task {first.index}"
    return state, f"{told}: {first.message or state.value}"


def requeue(draft: Draft, job: Job, by: str, now: float) -> Job:
    """End what runs of a job, and let it wait again, to begin from its beginning.

    :raises Conflict: it does not run, nor waits to go on from a checkpoint
    """
    if job.state is State.PENDING and job.resumes:
        return restarting.forget(draft, job, by, now)
    if job.state not in (State.RUNNING, State.SUSPENDED):
        raise Conflict(f"job {job.id} is {job.state.value}: only a job that runs can be requeued")
    if job.killed_by is not None:
        raise Conflict(f"job {job.id} is being killed by {job.killed_by}")
    if is_interactive(job.spec):
        raise Conflict(f"job {job.id} is interactive: it begins once")
    if job.fate is not None:
        return job
    job = migrations.stop(draft, job, f"the job was requeued by {by}", now)
    fate = Fate(State.PENDING, f"requeued by {by}")
    asked = replace(job, fate=fate, reason=f"being requeued by {by}")
    if not job.open_tasks:
        raise Conflict(f"job {job.id} has no task that runs")
    return draft.put(asked, now, "requeue", by=by)


def cancel(draft: Draft, job: Job, index: int, by: str, now: float) -> Job:
    """End a task that waits; the job with it, when it was the last one."""
    task = job.task(index) or Task(index, 0, "", State.PENDING)
    over = replace(
        task, state=State.CANCELLED, killed_by=by, message=f"killed by {by} while it waited"
    )
    after = replace(job, tasks=job.with_tasks(over))
    if after.open_tasks or after.unplaced_count:
        return draft.put(after, now, "kill", by=by, task=index)
    state, reason = _of_job(after, End(State.CANCELLED, over.message))
    ended = after if after.state is not State.PENDING else after.moved(State.RUNNING)
    return draft.put(ended.moved(state, reason=reason, end_time=now), now, "kill", by=by)
