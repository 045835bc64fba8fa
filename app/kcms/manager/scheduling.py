"""What every round ends with: who waits is placed, or told why not.  Pure, as :mod:`.core`.

A round does not look at every job that waits, see :mod:`.waiting`: a job costs as much beside ten
thousand others as beside ten.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace

from kcms.jobs import placement, queue
from kcms.jobs.checkpointing import NONE
from kcms.jobs.model import Job, Task
from kcms.jobs.needs import is_restartable
from kcms.jobs.placement import Kind, Placement, kind_of
from kcms.jobs.states import State
from kcms.manager import balance, checkpoints, hooks, leaving, migrations, nodes, saves
from kcms.manager.memory import Draft


def settle(draft: Draft, now: float) -> None:
    """What every round ends with: place what waits, when anything that bears on it changed; what
    is to leave its node has its turn before, and what would only be better off elsewhere after."""
    if draft.changed or draft.capacity:
        leaving.go(draft, now)
        schedule(draft, now)
        balance.go(draft, now)
        saves.tidy(draft, now)
        checkpoints.begin(draft, now)


def _not_kept_back(draft: Draft, now: float) -> list[Job]:
    """Of the waiting jobs that a gate may have come for or gone from, those that may be placed;
    the others are told why not, or end.

    In the order of their numbers, as jobs follow those of lower ones.
    """
    found = []
    unknown = _copies_unknown(draft)
    numbers = sorted(_to_be_looked_at(draft) | unknown.keys() | draft.base.waiting.copied)
    while numbers:
        number = heapq.heappop(numbers)
        job = draft.job(number)
        if number in draft.kept or job is None or not queue.waits(job):
            continue
        gate = queue.gate(job, now, draft.followed) if job.state is State.PENDING else None
        if gate is None and number in unknown:
            gate = unknown[number]
            draft.copied.add(number)
        draft.kept[number] = gate is not None
        if gate is None:
            found.append(job)
        elif gate.never:
            ended = job.moved(State.CANCELLED, reason=gate.reason, end_time=now)
            draft.put(ended, now, "depend")
            for each in draft.base.followers.get(number, ()):
                heapq.heappush(numbers, each)
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


def _to_be_looked_at(draft: Draft) -> set[int]:
    found = {*draft.changed, *draft.base.waiting.new}
    for number in draft.changed:
        found |= draft.base.followers.get(number, set())
    return found | draft.base.waiting.timed if draft.capacity else found


def schedule(draft: Draft, now: float) -> None:
    """Place what can be placed, and say of the rest why it waits."""
    free = [(kind_of(job), job) for job in _not_kept_back(draft, now)]  # which may end some, too
    for hook in hooks.follow(draft, now):
        draft.kept[hook.id] = False
        free.append((kind_of(hook), hook))
    looked_at = {*draft.changed, *draft.kept}
    waiting = draft.base.waiting.in_turn(looked_at, free)
    if not waiting:
        return
    plan = placement.place(waiting, nodes.candidates(draft), draft.base.rules.partitions)
    places: defaultdict[int, list[Placement]] = defaultdict(list)
    for each in plan.placements:
        places[each.job].append(each)
    for number, given in places.items():
        job = draft.job(number)
        assert job is not None
        _place(draft, job, given, now)
    for number, reason in plan.reasons.items():
        _tell(draft, number, reason, now)
    for number, reason in _rest(draft, plan, free, looked_at):
        if number not in places and number not in plan.reasons:
            _tell(draft, number, reason, now)


def _rest(
    draft: Draft, plan: placement.Plan, free: list[tuple[Kind, Job]], looked_at: set[int]
) -> Iterator[tuple[int, str]]:
    """The jobs that there was no turn for, as far as they may have been told another reason."""
    for kind, job in free:
        if kind in plan.rest:
            yield job.id, plan.rest[kind]
    for kind, reason in plan.rest.items():
        for number in draft.base.waiting.told_otherwise(kind, reason):
            if number not in looked_at:
                yield number, reason


def _tell(draft: Draft, number: int, reason: str, now: float) -> None:
    """Of a job that nothing keeps back, why it waits."""
    job = draft.job(number)
    if job is not None and job.state is State.PENDING and job.reason != reason:
        draft.kept[number] = False
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
                saved=before.saved.placed() if before else NONE,
                lease=draft.base.rules.lease if is_restartable(job) else 0.0,
            )
        )
    told = {"node": given[0].node, "tasks": [[each.task, each.node] for each in given]}
    after = replace(job, tasks=job.with_tasks(*tasks))
    if job.state is State.PENDING:
        after = after.moved(State.RUNNING, reason="being started")
    draft.put(after, now, "place", **(told if job.size > 1 else {"node": given[0].node}))
