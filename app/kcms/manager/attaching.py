"""Interactive jobs: who may be attached to one, where, and which one nobody waits for.

Pure, as :mod:`.core`.  Whoever wants to be attached to a job that waits asks again and again; a job
that nobody asks for is not to start hours later.
"""

from __future__ import annotations

from kcms.errors import Conflict, Forbidden
from kcms.jobs.model import Job, Task
from kcms.jobs.spec import is_interactive
from kcms.jobs.states import State
from kcms.manager.core import Caller
from kcms.manager.memory import Draft, Memory

UNASKED_SECONDS = 60.0
"""In which nobody asks for a waiting interactive job until it is cancelled."""


def check_attaches(caller: Caller, job: Job) -> None:
    """:raises Conflict: nobody is ever attached to it  :raises Forbidden: it is another's"""
    if not is_interactive(job.spec):
        raise Conflict(f"job {job.id} is not interactive: nobody can be attached to it")
    if (caller.user, caller.uid) != (job.user, job.uid):
        raise Forbidden(f"only {job.user} is attached to job {job.id}, not {caller.user}")


def place_of(job: Job) -> Task | None:
    """The task to be attached to, which may not have begun; None when there is none."""
    return next(iter(job.open_tasks), None)


def asked(memory: Memory, number: int) -> None:
    """Somebody waits for a job."""
    if number in memory.unasked:
        memory.unasked[number] = 0.0


def tick(draft: Draft, now: float, listened: float) -> None:
    """Let time pass: end the waiting jobs that nobody asks for.

    :param listened: seconds since the last tick in which somebody could have asked
    """
    for number, before in list(draft.base.unasked.items()):
        draft.base.unasked[number] = before + listened
        job = draft.job(number)
        if before + listened > UNASKED_SECONDS and job is not None and job.state is State.PENDING:
            reason = f"nobody waited for it any more: kcms run on {job.submit_host} is gone"
            draft.put(job.moved(State.CANCELLED, reason=reason, end_time=now), now, "abandon")
