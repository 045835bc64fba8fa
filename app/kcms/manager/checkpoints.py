"""Checkpoints of running tasks: what begins one, and what each word of a node does to it.

Pure, on a draft.  The steps are those of :mod:`kcms.jobs.checkpoint`.  An image is on record from
the commit that takes the answer to *save*; from then on *keep* is wanted of its node until it is
answered, whatever becomes of the task.  What goes off the record is litter until a node, which need
not be the one that made it, answered that it is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from kcms.errors import Conflict, NotFound, ProtocolError
from kcms.jobs import intervals, ladder
from kcms.jobs.checkpoint import Image
from kcms.jobs.checkpointing import Kept, Saved
from kcms.jobs.migration import MoveReport, WantedMove
from kcms.jobs.model import CHECKPOINT, Job, NodeReport, Task
from kcms.jobs.spec import save_interval
from kcms.jobs.spec_values import AUTO
from kcms.jobs.states import State
from kcms.manager import saves, signals
from kcms.manager.litter_rows import Litter
from kcms.manager.memory import Draft, Memory, under_way

REST_SECONDS, LONGEST_REST = 60.0, 3600.0
"""How long litter rests that a node could not remove, at first and at the most."""

DROPS_AT_ONCE = 8
"""Rows of litter that a node is told of; more wait until it has answered."""

MESSAGE_LIMIT = 500


def ask(draft: Draft, job: Job, index: int | None, by: str, now: float) -> Job:
    """Have the running tasks of a job saved, or one of them.

    :raises Conflict: it cannot be now  :raises NotFound: there is no such task
    """
    _check(job)
    if index is not None and not 0 <= index < job.size:
        raise NotFound(f"job {job.id} has the tasks 0 to {job.size - 1}, and no task {index}")
    tasks = [task for task in job.open_tasks if index in (None, task.index)]
    troubles = {task.index: _trouble(draft.base, job, task) for task in tasks}
    able = [task for task in tasks if not troubles[task.index]]
    if not able:
        why = next(iter(troubles.values()), "no such task of it runs")
        raise Conflict(f"no checkpoint of job {job.id} can be made: {why}")
    if job.spec.get("checkpoint_signal"):
        return _signal_each(draft, job, able, by, now)
    for task in able:
        saved = task.saved.asked(saves.next_number(job), by, now)
        job = saves.put(draft, job, task, saved, "asked", now)
    return job


def _signal_each(draft: Draft, job: Job, tasks: list[Task], by: str, now: float) -> Job:
    """:raises Conflict: none of them can be told now"""
    refused = []
    for task in tasks:
        try:
            job = _signal(draft, job, task, by, now)
        except Conflict as error:
            refused.append(error)
    if len(refused) == len(tasks):
        raise refused[0]
    return job


def _signal(draft: Draft, job: Job, task: Task, by: str, now: float) -> Job:
    """Have a task save itself.  :raises Conflict: its first process cannot be reached now"""
    root = draft.base.processes.root_of(task.node, (job.id, task.unit, task.epoch))
    if root is None:
        raise Conflict(
            f"job {job.id} cannot be told to save itself: {task.node} has not named its first "
            "process yet"
        )
    number = saves.next_number(job)
    name = str(job.spec["checkpoint_signal"])
    wanted = signals.Asked(name, f"checkpoint {number}", task.index, task.node, root.pid)
    job = signals.ask(draft, job, wanted, by, now)
    asked = replace(task.saved, last=number, signalled=now, failure="", failure_time=None)
    saved = _timed(draft, job, asked, intervals.OWN_COST)
    return saves.put(draft, job, task, saved, "signalled", now)


def _timed(draft: Draft, job: Job, saved: Saved, cost: float) -> Saved:
    """With the time to the next one, where that is left to the cluster."""
    if save_interval(job.spec) != AUTO:
        return saved
    seconds, why = intervals.interval(cost, draft.base.losses)
    return replace(saved, interval=seconds, why=why)


def _check(job: Job) -> None:
    """:raises Conflict: nothing of the job can be saved now"""
    never, moving = ladder.impossible(job.spec), under_way(job)
    why = never
    if job.state not in (State.RUNNING, State.SUSPENDED):
        why = f"it is {job.state.value}, and only a job that runs can be saved"
    elif job.killed_by is not None:
        why = f"it is being killed by {job.killed_by}"
    elif job.ending:
        why = f"it is being ended: {job.reason}"
    elif moving is not None:
        why = f"it is being moved from {moving.source} to {moving.target}"
    if why:
        raise Conflict(f"no checkpoint of job {job.id} can be made: {why}")


def _trouble(memory: Memory, job: Job, task: Task) -> str:
    node = memory.nodes.get(task.node)
    if task.saved.saving is not None:
        return "one is being made already"
    if task.killed_by is not None:
        return f"task {task.index} is being killed by {task.killed_by}"
    if task.saved.restart_by is not None:
        return f"it is being restarted by {task.saved.restart_by}"
    if task.start_time is None:
        return f"it is still being started on {task.node}: try again then"
    if node is None or node.report is None or not memory.is_up(node):
        return f"{task.node} is DOWN: it is not heard"
    if job.spec.get("checkpoint_signal"):
        return ""
    trouble = str(node.report.mover.get("trouble") or "")[:MESSAGE_LIMIT]
    if trouble or CHECKPOINT in node.report.abilities:
        return trouble
    return (
        f"{task.node} makes none: its release is older, or it has no shared directory; set "
        "kcms_shared_directory and run the site playbook"
    )


# what is wanted of nodes -------------------------------------------------------------------------


def wanted_moves(memory: Memory, name: str) -> Iterator[WantedMove]:
    """The steps of checkpoints that are wanted of a node now."""
    for number in sorted(memory.placed.get(name, ())):
        job = memory.jobs[number]
        for task in job.saved_tasks:
            saving = task.saved.saving
            if saving is not None and saving.begun and task.open and task.node == name:
                yield _move(memory, job, task, task.epoch, saving.number, "save", name)
            for each in task.saved.kept:
                if each.node == name and not each.noted:
                    keep = _move(memory, job, task, each.epoch, each.number, "keep", name)
                    yield replace(keep, data=each.image.document())
    able = _able(memory)
    own = (each for each in memory.litter.values() if _actor(memory, each, able) == name)
    for litter in islice(own, DROPS_AT_ONCE):
        yield _drop(memory, litter, name)


def _move(
    memory: Memory, job: Job, task: Task, epoch: int, number: int, step: str, name: str
) -> WantedMove:
    return WantedMove(
        *(job.id, task.unit, epoch, memory.store, number, step, name, name),
        *(job.user, job.uid, job.gid, job.spec),
        restarts=task.restarts,
        lease=task.lease,
    )


def _drop(memory: Memory, litter: Litter, name: str) -> WantedMove:
    return WantedMove(
        *(litter.job, litter.task, litter.epoch, memory.store, litter.number, "drop", name, name),
        *(litter.user, litter.uid, litter.gid, {}),
        data={"images": list(litter.paths)},
    )


def actor_of(memory: Memory, litter: Litter) -> str | None:
    """The node that is to remove images; None while they rest, or when no node could."""
    return _actor(memory, litter, _able(memory))


def _able(memory: Memory) -> list[str]:
    """The nodes that can remove images, in order."""
    return sorted(
        name
        for name, node in memory.nodes.items()
        if memory.is_up(node) and node.report and CHECKPOINT in node.report.abilities
    )


def _actor(memory: Memory, litter: Litter, able: list[str]) -> str | None:
    tries, rest = memory.resting.get(litter.key, (0, 0.0))
    return able[(litter.number + tries) % len(able)] if able and rest <= 0 else None


# what nodes say ----------------------------------------------------------------------------------


def follow(draft: Draft, name: str, said: NodeReport, now: float) -> None:
    """Take what a node says came of the steps that are wanted of it."""
    for each in said.moves:
        if each.ok is None or each.store != draft.base.store:
            continue
        if each.step == "drop":
            _dropped(draft, name, each)
        job = draft.job(each.job)
        tasks = job.saved_tasks if job else ()
        task = next((task for task in tasks if task.unit == each.task), None)
        if job is None or task is None:
            continue
        saving = task.saved.saving
        if each.step == "save" and saving is not None and saving.begun:
            there = (task.node, task.epoch, saving.number)
            if task.open and there == (name, each.epoch, each.number):
                _saved(draft, job, task, name, each, said, now)
        elif each.step == "keep":
            _kept(draft, job, task, name, each, now)


def _saved(
    draft: Draft, job: Job, task: Task, name: str, each: MoveReport, said: NodeReport, now: float
) -> None:
    try:
        image = Image.parse(each.data) if each.ok else None
    except ProtocolError as error:
        image, each = None, replace(each, message=f"its answer is no image: {error}")
    if image is None or image.number != each.number:
        why = each.message or "its answer is of another checkpoint"
        saves.stop(draft, job, task.index, f"{name}: {why}", now)
        return
    mover = said.mover or {}
    told = str(mover.get("machine", "")), str(mover.get("criu", ""))
    new = Kept(image, task.epoch, name, *told)
    after, gone = task.saved.made(new, draft.base.rules.checkpoints_kept)
    after = _timed(draft, job, after, intervals.cost(image.freeze_seconds, image.seconds))
    task = saves.discard(draft, job, replace(task, saved=after), gone, now)
    saves.put(draft, job, task, task.saved, "made", now)


def _kept(draft: Draft, job: Job, task: Task, name: str, each: MoveReport, now: float) -> None:
    found = [kept for kept in task.saved.kept if kept.number == each.number and not kept.noted]
    if not found or (found[0].node, found[0].epoch) != (name, each.epoch):
        return
    if each.ok or _is_in_use(task, each.number):
        saves.put(draft, job, task, task.saved.noted(each.number), "noted", now)
        return
    after, gone = task.saved.without(each.number)
    task = saves.discard(draft, job, replace(task, saved=after), gone, now)
    failed = task.saved.failed(f"{name}: {each.message or 'it did not keep the image'}", now)
    saves.put(draft, job, task, failed, "failed", now)


def _is_in_use(task: Task, number: int) -> bool:
    """Whether the task goes on from that image, or is to: whoever fetches it proves it."""
    saved = task.saved
    return saved.resume or (saved.image is not None and saved.image.number == number)


def _dropped(draft: Draft, name: str, each: MoveReport) -> None:
    memory, key = draft.base, (each.job, each.number)
    litter = memory.litter.get(key)
    if litter is None or actor_of(memory, litter) != name:
        return
    if each.ok:
        draft.litter[key] = None
    else:
        tries = memory.resting.get(key, (0, 0.0))[0]
        rest = min(REST_SECONDS * 2 ** min(tries, 10), LONGEST_REST)
        memory.resting[key] = (tries + 1, rest)
    draft.concerned |= memory.nodes.keys()


# time --------------------------------------------------------------------------------------------


def tick(draft: Draft, now: float, listened: float) -> None:
    """Let time pass: a checkpoint does not wait for the silent, nor for ever."""
    memory, limit = draft.base, draft.base.rules.migration_timeout
    for key, (tries, rest) in list(memory.resting.items()):
        if key not in memory.litter:
            del memory.resting[key]
        elif rest > 0:
            memory.resting[key] = (tries, rest - listened)
            draft.concerned |= memory.nodes.keys()
    busy = _under_way(draft)
    there = {(job.id, task.index, task.saved.last) for job, task in busy}
    memory.saving = {each: memory.saving.get(each, 0.0) + listened for each in there}
    for found, task in busy:
        job = draft.job(found.id) or found
        node, saving = memory.nodes.get(task.node), task.saved.saving
        age = memory.saving[job.id, task.index, task.saved.last]
        if node is None or node.silence > memory.rules.node_timeout:
            saves.stop(draft, job, task.index, f"{task.node} is not heard", now)
        elif saving is not None and saving.begun and age > limit:
            saves.stop(draft, job, task.index, f"it was not over after {limit:g} s", now)


def begin(draft: Draft, now: float) -> None:
    """Let the turn of those come that wait, the oldest first: a few a node, and a few in all."""
    rules, busy = draft.base.rules, _under_way(draft)
    going = [task for _, task in busy if task.saved.saving and task.saved.saving.begun]
    waiting = [each for each in busy if each[1].saved.saving and not each[1].saved.saving.begun]
    on = [task.node for task in going]
    for job, task in sorted(waiting, key=lambda each: (each[0].id, each[1].index)):
        if len(on) >= rules.checkpoints_at_once or on.count(task.node) >= rules.checkpoints_a_node:
            continue
        on.append(task.node)
        current = draft.job(job.id)
        assert current is not None, "it was found in the draft"
        saves.put(draft, current, task, task.saved.begun(), "begun", now)
        draft.base.saving.pop((job.id, task.index, task.saved.last), None)


def _under_way(draft: Draft) -> list[tuple[Job, Task]]:
    placed = {number for there in draft.base.placed.values() for number in there}
    found = (draft.job(number) for number in sorted(placed | draft.changed.keys()))
    jobs = (job for job in found if job is not None and not job.state.final)
    return [(job, task) for job in jobs for task in job.saved_tasks if task.saved.saving]
