"""Moving running jobs: what begins a migration, what each word of a node does to it, what ends it.

Pure, on a draft like everything in :mod:`kcms.manager.core`.  The steps are those of
:mod:`kcms.jobs.migration`.  The one thing to be kept, whoever dies when: at no time may two copies
of a job run.  A node lets a copy run only while the manager wants that copy to run and wants no
move of it; so the source is asked to hold the job (its step ``dump``) for as long as the target may
still come to have it, and one commit both ends that and makes the target's copy the job.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kcms.errors import Conflict, NotFound
from kcms.jobs.checkpoint import criu_version
from kcms.jobs.migration import Migration, MoveReport
from kcms.jobs.model import Job, NodeReport, Task, TaskReport
from kcms.jobs.needs import Demand, cpus_of, is_limited, memory_of
from kcms.jobs.spec import is_interactive
from kcms.jobs.states import State
from kcms.manager import measured, saves
from kcms.manager.memory import Draft, Memory, Node, Orphan, key_of, name_of, under_way
from kcms.manager.nodes import candidates
from kcms.manager.signals import is_waiting

NEXT = {"checking": "preparing", "preparing": "dumping", "dumping": "restoring"}
UNTOUCHED = ("checking", "preparing")
TOLD_LIMIT = 128 * 1024
"""Bytes of JSON that a step may answer, for the next one."""

MESSAGE_LIMIT = 500
SHOWN_NAMES = 8


# what begins it ----------------------------------------------------------------------------------


def ask(
    draft: Draft,
    job: Job,
    target: str,
    by: str,
    check_only: bool,
    now: float,
    index: int | None = None,
) -> Job:
    """Begin to move a task of a job, or only to see whether it could be.

    :param index: which; None is the only one
    :raises Conflict: it cannot be; nothing was touched
    :raises NotFound: the job has no such task
    """
    job = unchecked(draft, job, check_only, now)
    task = movable(job, index)
    if is_waiting(draft, job, task):
        raise Conflict(f"a signal is on its way to {name_of(job, task.index)}: try again then")
    trouble = obstacle(draft, job, task, target) or _no_room(draft, job, target)
    if trouble is not None:
        raise Conflict(f"{name_of(job, task.index)} cannot be moved: {trouble}")
    if task.saved.saving is not None:
        if check_only:
            raise Conflict(
                f"a checkpoint of {name_of(job, task.index)} is being made: try again then"
            )
        job = saves.stop(draft, job, task.index, f"{by} had it moved meanwhile", now)
    migration = Migration(
        number=saves.next_number(job),
        source=task.node,
        target=target,
        epoch=next_epoch(job, task.index),
        phase="checking",
        by=by,
        start_time=now,
        check_only=check_only,
        task=task.index,
    )
    return _put(draft, job, migration, now)


def unchecked(draft: Draft, job: Job, check_only: bool, now: float) -> Job:
    """The job without a check under way, where something is to be done to it in earnest."""
    moving = under_way(job)
    if moving is None or not moving.check_only or check_only:
        return job
    return stop(draft, job, "something else was asked of the job meanwhile", now)


def next_epoch(job: Job, index: int = 0) -> int:
    """An epoch that no copy of the task ever had, as far as this job store knows."""
    task = job.task(index)
    epochs = [task.epoch] if task else []
    return 1 + max([*epochs, job.migration.epoch if job.migration else 0])


def movable(job: Job, index: int | None = None) -> Task:
    """The task of a job that runs and could move, as far as the job itself tells.

    :raises Conflict: it does not run, or is not alone  :raises NotFound: there is no such task
    """
    _check_whole(job)
    if index is not None and not 0 <= index < job.size:
        raise NotFound(f"job {job.id} has the tasks 0 to {job.size - 1}, and no task {index}")
    if job.size != 1 and job.job_class != "batch":
        raise Conflict(
            f"job {job.id} has {job.size} tasks that run together: only a job of one, or a task of "
            "a batch job, can be moved"
        )
    if job.size != 1 and index is None:
        raise Conflict(
            f"job {job.id} has {job.size} tasks: say which of them is to move, as {job.id}.0"
        )
    return _begun(job, index or 0)


def _begun(job: Job, index: int) -> Task:
    """:raises Conflict: the task does not run, or not yet"""
    task = job.task(index)
    if task is None or not task.open:
        state = task.state.value if task else State.PENDING.value
        raise Conflict(f"{name_of(job, index)} is {state}: only one that runs can be moved")
    if task.killed_by is not None:
        raise Conflict(f"{name_of(job, index)} is being killed by {task.killed_by}")
    if task.saved.restart_by is not None:
        raise Conflict(f"{name_of(job, index)} is being restarted by {task.saved.restart_by}")
    if task.start_time is None:
        told = f"is still being started on {task.node}: try again then"
        raise Conflict(f"{name_of(job, index)} {told}")
    return task


def _check_whole(job: Job) -> None:
    """:raises Conflict: nothing of the job can be moved now"""
    if job.state.final:
        raise Conflict(f"job {job.id} is over already ({job.state.value})")
    if job.killed_by is not None:
        raise Conflict(f"job {job.id} is being killed by {job.killed_by}")
    if job.ending:
        raise Conflict(f"job {job.id} is being ended: {job.reason}")
    if is_interactive(job.spec):
        raise Conflict(f"job {job.id} is interactive: it stays where somebody is attached to it")
    moving = under_way(job)
    if moving is not None:
        doing = "checked for a move" if moving.check_only else "being moved"
        way = f"from {moving.source} to {moving.target}"
        raise Conflict(f"{name_of(job, moving.task)} is {doing} {way} already")
    if job.state is not State.RUNNING:
        raise Conflict(f"job {job.id} is {job.state.value}: only a job that runs can be moved")


def obstacle(draft: Draft, job: Job, task: Task, target: str) -> str | None:
    """What stands first against moving the task there, as far as the manager knows; room aside."""
    return next(_between(draft, job, task, target), None)


def _between(draft: Draft, job: Job, task: Task, target: str) -> Iterator[str]:
    """What stands against moving the task between two nodes, as far as the manager knows."""
    nodes, memory, source = draft.base.nodes, draft.base, task.node
    there = nodes.get(target)
    if there is None:
        yield f"there is no node {target!r:.100} in cluster {memory.cluster}, {_known(memory)}"
        return
    if source == target:
        yield f"it runs on {target} already"
    for name in (source, target):
        node = nodes.get(name)
        if node is None or node.report is None or not memory.is_up(node):
            yield f"{name} is {_why_down(node)}"
            return
    drain = draft.drain_of(target)
    if drain is not None:
        yield f"{target} is drained" + (f" ({drain.reason})" if drain.reason else "")
    yield from _movers(nodes[source], there)
    for node in nodes.values():
        # Its epoch was given by a newer copy of this store, and will be given again by this one.
        if any((each.store, each.job) == (memory.store, job.id) for each in node.foreign):
            yield (
                f"{node.name} has a copy of it that this job store, restored from a backup, does "
                "not know: the manager's journal says how to end that"
            )
    if any(key[:2] == (job.id, task.unit) for key in there.orphans):
        yield f"{target} still clears an earlier copy of it away: try again in a moment"


def _known(memory: Memory) -> str:
    names = sorted(name for name, node in memory.nodes.items() if node.listed)
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return f"which has {', '.join(names[:SHOWN_NAMES])}{more}" if names else "which has none"


def _why_down(node: Node | None) -> str:
    taken_out = node is not None and not node.listed
    return "no longer in the inventory" if taken_out else "DOWN: it is not heard"


def _movers(source: Node, target: Node) -> Iterator[str]:
    """What stands against it in what two nodes say of themselves."""
    for node, way in ((source, "from"), (target, "to")):
        mover = node.report.mover if node.report else {}
        if not mover:
            yield f"the release on {node.name} cannot move jobs: run the site playbook for it"
            return
        if mover.get("trouble"):
            yield f"no job can be moved {way} {node.name}: {one_line(mover['trouble'])}"
            return
    here = source.report.mover if source.report else {}
    there = target.report.mover if target.report else {}
    if here.get("machine") != there.get("machine"):
        kinds = [one_line(each.get("machine", "unknown")) for each in (here, there)]
        yield f"{source.name} is of kind {kinds[0]}, {target.name} of kind {kinds[1]}"
    old, new = here.get("criu", ""), there.get("criu", "")
    if criu_version(new) < criu_version(old):
        yield (
            f"criu on {target.name} ({one_line(new) or 'unknown'}) is older than on {source.name} "
            f"({one_line(old)})"
        )


def _no_room(draft: Draft, job: Job, target: str) -> str | None:
    there = next(each for each in candidates(draft) if each.name == target)
    wanted, left = Demand.of(job), there.memory - there.promised
    if there.used + wanted.cpus > there.slots:
        taken = f"({there.used} of {there.slots})"
        if wanted.cpus == 1:
            return f"every slot of {target} is taken {taken}"
        return f"it takes {wanted.cpus} slots, which {target} does not have left {taken}"
    if not wanted.needs <= there.abilities:
        what = "keeps to no limits" if is_limited(job) else "cannot run such jobs"
        return f"the release on {target} {what}: run the site playbook for it"
    partition = draft.base.rules.partitions.get(wanted.partition or "")
    if wanted.partition is not None and target not in (partition or ()):
        return f"{target} is not in partition {wanted.partition}"
    if wanted.memory and wanted.memory > left:
        return f"it was promised {wanted.memory} MiB of memory, and {target} has {left} MiB left"
    here = sum(task.node == target for task in job.open_tasks)
    if wanted.per_node is not None and here >= wanted.per_node:
        return f"{target} has {here} of its tasks already, and may have {wanted.per_node}"
    return None


# what nodes say ----------------------------------------------------------------------------------


def follow(draft: Draft, name: str, said: NodeReport, now: float) -> None:
    """Take what a node says came of the moves that are wanted of it."""
    for each in said.moves:
        job = draft.job(each.job)
        moving = under_way(job)
        if job is None or moving is None or each.ok is None or each.store != draft.base.store:
            continue
        if (each.number, each.step) != (moving.number, step_of(moving, name)):
            continue
        task = job.task(moving.task)
        if task is None or (each.task, each.epoch) != (task.unit, epoch_on(moving, task, name)):
            continue
        if not each.ok:
            _refused(draft, job, moving, name, each, now)
        elif moving.actor == name:
            _done(draft, job, moving, name, each, said, now)


def step_of(moving: Migration, name: str) -> str | None:
    """The step that is wanted of a node.  The source holds the job while the target restores it."""
    if moving.actor == name:
        return moving.step
    return "dump" if moving.phase == "restoring" and moving.source == name else None


def epoch_on(moving: Migration, task: Task, name: str) -> int:
    return task.epoch if name == moving.source else moving.epoch


def _refused(
    draft: Draft, job: Job, moving: Migration, name: str, said: MoveReport, now: float
) -> None:
    """A step did not come about: nothing happened yet, or what happened is undone."""
    untouched = moving.phase in UNTOUCHED and not said.touched
    phase = "refused" if untouched or moving.check_only else "failed"
    message = f"{name}: {one_line(said.message) or 'it does not say why'}"
    _put(draft, job, moving.ended(phase, message, now), now)


def _done(
    draft: Draft,
    job: Job,
    moving: Migration,
    name: str,
    said: MoveReport,
    report: NodeReport,
    now: float,
) -> None:
    """A step came about: on to the next."""
    if moving.phase == "restoring":
        if any(is_copy(draft, job, each) and is_alive(each) for each in report.tasks):
            _commit(draft, job, moving, now)
        return
    answer = _bounded(said.data)
    if answer is None:
        stop(
            draft,
            job,
            f"{name}: its answer to {said.step} is no JSON of up to {TOLD_LIMIT} bytes",
            now,
        )
        return
    moving = measured.answered(draft, job.id, moving, answer)
    if moving.phase == "preparing":
        _admitted(draft, job, moving, answer, now)
    else:
        _put(draft, job, _next(moving, answer), now)


def _admitted(
    draft: Draft, job: Job, moving: Migration, answer: dict[str, Any], now: float
) -> None:
    """Both said yes.  What changed since it was asked for is looked at while nothing is touched.

    A manager that was begun anew waits until it has heard the source, too, or takes it for silent.
    """
    source = draft.base.nodes.get(moving.source)
    if source is not None and source.listed and source.report is None:
        return
    task = job.task(moving.task)
    trouble = obstacle(draft, job, task, moving.target) if task else "it is over"
    if trouble is not None:
        _put(draft, job, moving.ended("refused", trouble, now), now)
    elif moving.check_only:
        _put(draft, job, moving.ended("possible", "", now), now)
    else:
        _put(draft, job, _next(moving, answer), now)


def _next(moving: Migration, answer: dict[str, Any]) -> Migration:
    told = {**moving.told, moving.step: answer}
    return replace(moving, phase=NEXT[moving.phase], told=told)


def _commit(draft: Draft, job: Job, moving: Migration, now: float) -> None:
    """The point of no return: from here on the copy on the target is the job."""
    task = job.task(moving.task)
    assert task is not None, "what moves has its place"
    saved = replace(task.saved, image=None) if task.saved.image else task.saved
    there = replace(task, epoch=moving.epoch, node=moving.target, saved=saved)
    reason = job.reason if job.size > 1 else ""  # which may be of another of its tasks
    _put(
        draft,
        replace(job, tasks=job.with_tasks(there), reason=reason),
        measured.committed(draft, job.id, moving).ended("done", "", now),
        now,
    )
    source = draft.base.nodes.get(moving.source)
    if source is not None:
        # Its next report would say so, too; what is on record already would keep it from a kill.
        source.orphans[key_of(job, task)] = Orphan(0.0, cpus_of(job), memory_of(job))


def _bounded(answer: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return answer if len(json.dumps(answer, allow_nan=False)) <= TOLD_LIMIT else None
    except (ValueError, RecursionError):
        return None


def one_line(text: str) -> str:
    """What a node says, as part of one line."""
    shown = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(shown.split())[:MESSAGE_LIMIT]


# the copy on the target --------------------------------------------------------------------------


def is_copy(draft: Draft, job: Job | None, said: TaskReport) -> bool:
    """Whether a report is about the copy that a migration under way makes of the job."""
    moving = under_way(job)
    if job is None or moving is None or said.store != draft.base.store:
        return False
    return (said.job, said.task, said.epoch) == (job.id, moving.task, moving.epoch)


def is_alive(said: TaskReport) -> bool:
    return said.phase in ("launching", "running")


def follow_copy(draft: Draft, name: str, said: TaskReport, now: float) -> bool:
    """Whether a task is such a copy on its target.  The end of it is that of the migration."""
    job = draft.job(said.job)
    moving = under_way(job)
    if job is None or moving is None or moving.target != name or not is_copy(draft, job, said):
        return False
    if not is_alive(said):
        why = one_line(said.message) or f"the copy of it was {said.phase}"
        stop(draft, job, f"{name}: {why}", now)
    return True


# what ends it ------------------------------------------------------------------------------------


def stop(draft: Draft, job: Job, why: str, now: float, index: int | None = None) -> Job:
    """The job with no migration under way, or none of that task: it stays, or ends, where it is."""
    moving = under_way(job)
    if moving is None or index not in (None, moving.task):
        return job
    return _put(
        draft, job, moving.ended("refused" if moving.check_only else "failed", why, now), now
    )


def tick(draft: Draft, now: float, listened: float) -> None:
    """Let time pass: a migration does not wait for the silent, nor for ever.

    The time a migration takes is that in which the manager listened, as for silence.
    """
    memory = draft.base
    for number in memory.moving:
        memory.moving[number] += listened
    for job in draft.moving():
        moving = under_way(job)
        if moving is None:
            continue
        for name in (moving.source, moving.target):
            node = memory.nodes.get(name)
            if node is None or node.silence > memory.rules.node_timeout:
                stop(draft, job, f"{name} is not heard", now)
                break
        else:
            if memory.moving.get(job.id, 0.0) > memory.rules.migration_timeout:
                limit = memory.rules.migration_timeout
                stop(draft, job, f"it was not over after {limit:g} s", now)


def _put(draft: Draft, job: Job, moving: Migration, now: float) -> Job:
    said = {
        "number": moving.number,
        "task": moving.task,
        "phase": moving.phase,
        "source": moving.source,
        "target": moving.target,
        "epoch": moving.epoch,
        "by": moving.by,
        "message": moving.message,
    }
    return draft.put(replace(job, migration=moving), now, "migrate", **said)
