"""Which images are to be brought here for tasks that begin from one, and what came of it.  Pure.

Such a task waits until the step ``fetch`` of a move of its own is over: the image is here, proved
to be the one that was saved, and the job's files are as at the checkpoint.  The manager wants no
such move; it follows from the wanted task, as long as that has not begun.
"""

from __future__ import annotations

from collections.abc import Mapping

from kcms.jobs.checkpoint import NOT_HERE
from kcms.jobs.migration import WantedMove
from kcms.jobs.model import WantedTask
from kcms.node import core
from kcms.node.core import Fetched, TaskId
from kcms.node.moves import FETCH, UNDONE, MoveId, MoveRecord


def move_id(task: WantedTask) -> MoveId:
    """Of the fetch for the task, whose image has a number that no other move of the job has."""
    assert task.image is not None
    return MoveId(TaskId.of(task), task.image.number)


def wanted(tasks: core.Snapshot, host: str) -> dict[MoveId, WantedMove]:
    """The fetches that are wanted now."""
    return {
        move_id(each): _move(each, host)
        for task, each in (tasks.wanted or {}).items()
        if each.image is not None and each.want == "run" and _is_needed(tasks, task)
    }


def _is_needed(tasks: core.Snapshot, task: TaskId) -> bool:
    """Whether the image is still to be brought, or to be restored from."""
    record = tasks.records.get(task)
    if record is None:
        return core.may_begin(tasks, task)
    current = core.phase(tasks, task)
    return current == "launching" or (current == "running" and record.restoring)


def _move(task: WantedTask, host: str) -> WantedMove:
    assert task.image is not None
    return WantedMove(
        job=task.job,
        task=task.task,
        epoch=task.epoch,
        store=task.store,
        number=task.image.number,
        step=FETCH,
        source=host,
        target=host,
        user=task.user,
        uid=task.uid,
        gid=task.gid,
        spec=task.spec,
        data=task.image.document(),
        restarts=task.restarts,
        lease=task.lease,
    )


def fetched(
    tasks: Mapping[TaskId, WantedTask], records: Mapping[MoveId, MoveRecord]
) -> dict[TaskId, Fetched]:
    """What is known of the images that these tasks are to begin from."""
    found = {}
    for task, each in tasks.items():
        record = records.get(move_id(each)) if each.image is not None else None
        known = None if record is None else _known(record)
        if known is not None:
            found[task] = known
    return found


def _known(record: MoveRecord) -> Fetched | None:
    if record.damaged or record.undone:
        return Fetched(record.damaged or UNDONE, NOT_HERE)
    result = record.results.get(FETCH)
    if result is None:
        return None
    if result.ok:
        return Fetched()
    return Fetched(result.message, str(result.data.get("cause") or NOT_HERE))
