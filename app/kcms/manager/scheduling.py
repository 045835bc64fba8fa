"""What every round ends with: who waits is placed, or told why not.  Pure, as :mod:`.core`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from kcms.jobs import placement, queue
from kcms.jobs.model import Job, Task
from kcms.jobs.needs import is_restartable
from kcms.jobs.placement import Placement
from kcms.jobs.states import State
from kcms.manager import hooks, migrations, nodes
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
    waiting = (job for job in draft.active() if queue.waits(job))
    unknown = _copies_unknown(draft)
    for job in sorted(waiting, key=lambda each: each.id):
        gate = queue.gate(job, now, draft.followed) if job.state is State.PENDING else None
        gate = gate or unknown.get(job.id)
        if gate is None:
            found.append(job)
        elif gate.never:
            ended = job.moved(State.CANCELLED, reason=gate.reason, end_time=now)
            draft.put(ended, now, "depend")
        elif job.state is State.PENDING and job.reason != gate.reason:
            draft.put(replace(job, reason=gate.reason), now, "wait")
    return found


def _copies_unknown(draft: Draft) -> dict[int, queue.Gate]:
    """Jobs of which a node has a copy that this store, restored from a backup, does not know."""
    return {
        each.job: queue.Gate(f"{node.name} has a copy of it that this job store does not know")
        for node in draft.base.nodes.values()
        for each in node.foreign
        if each.store == draft.base.store
    }


def schedule(draft: Draft, now: float) -> None:
    """Place what can be placed, and say of the rest why it waits."""
    free = _not_kept_back(draft, now)  # which may end some, too
    waiting = queue.waiting([*free, *hooks.follow(draft, now)])
    if not waiting:
        return
    plan = placement.place(waiting, nodes.candidates(draft), draft.base.rules.partitions)
    by_id = {job.id: job for job in waiting}
    places: defaultdict[int, list[Placement]] = defaultdict(list)
    for each in plan.placements:
        places[each.job].append(each)
    for number, given in places.items():
        _place(draft, by_id[number], given, now)
    for number, reason in plan.reasons.items():
        job = by_id[number]
        if number not in places and job.state is State.PENDING and job.reason != reason:
            draft.put(replace(job, reason=reason), now, "wait")


def _place(draft: Draft, job: Job, given: list[Placement], now: float) -> None:
    """Have tasks of a job on nodes; those of a parallel one are a unit a node."""
    parallel = job.job_class == placement.PARALLEL
    epoch = max((migrations.next_epoch(job, each.task) for each in given), default=1)
    first: dict[str, int] = {}
    tasks = []
    for each in given:
        before = job.task(each.task)
        tasks.append(
            Task(
                index=each.task,
                epoch=epoch if parallel else migrations.next_epoch(job, each.task),
                node=each.node,
                state=State.RUNNING,
                first=first.setdefault(each.node, each.task) if parallel else None,
                restarts=before.restarts if before else 0,
                lease=draft.base.rules.lease if is_restartable(job) else 0.0,
            )
        )
    told = {"node": given[0].node, "tasks": [[each.task, each.node] for each in given]}
    after = replace(job, tasks=job.with_tasks(*tasks))
    if job.state is State.PENDING:
        after = after.moved(State.RUNNING, reason="being started")
    draft.put(after, now, "place", **(told if job.size > 1 else {"node": given[0].node}))
