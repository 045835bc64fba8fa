"""What every round ends with: who waits is placed, or told why not.  Pure, as :mod:`.core`."""

from __future__ import annotations

from dataclasses import replace

from kcms.jobs import placement, queue
from kcms.jobs.model import Job, Task
from kcms.jobs.states import State
from kcms.manager import migrations, nodes
from kcms.manager.memory import Draft


def settle(draft: Draft, now: float) -> None:
    """What every round ends with: place what waits, when anything that bears on it changed."""
    if draft.changed or draft.capacity:
        schedule(draft, now)


def _not_kept_back(draft: Draft, now: float) -> list[Job]:
    """The waiting jobs that may be placed; the others are told why not, or end.

    In the order of their numbers, as jobs follow those of lower ones.
    """
    found = []
    pending = (job for job in draft.active() if job.state is State.PENDING)
    for job in sorted(pending, key=lambda each: each.id):
        gate = queue.gate(job, now, draft.followed)
        if gate is None:
            found.append(job)
        elif gate.never:
            ended = job.moved(State.CANCELLED, reason=gate.reason, end_time=now)
            draft.put(ended, now, "depend")
        elif job.reason != gate.reason:
            draft.put(replace(job, reason=gate.reason), now, "wait")
    return found


def schedule(draft: Draft, now: float) -> None:
    """Place what can be placed, and say of the rest why it waits."""
    waiting = queue.waiting(_not_kept_back(draft, now))
    if not waiting:
        return
    plan = placement.place(waiting, nodes.candidates(draft))
    by_id = {job.id: job for job in waiting}
    for each in plan.placements:
        job = by_id[each.job]
        task = Task(index=0, epoch=migrations.next_epoch(job), node=each.node, state=State.RUNNING)
        placed = job.moved(State.RUNNING, reason="being started", tasks=(task,))
        draft.put(placed, now, "place", node=each.node)
    for number, reason in plan.reasons.items():
        if by_id[number].reason != reason:
            draft.put(replace(by_id[number], reason=reason), now, "wait")
