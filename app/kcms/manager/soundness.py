"""What a job store must be like, as far as its values tell.  Pure; :mod:`.audit` reads them.

A finding is one sentence: what is wrong, and what that means.  ``todo`` is what to do about it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kcms.jobs.intervals import Losses
from kcms.jobs.migration import OVER, STEPS
from kcms.jobs.model import Exit, Job, Task
from kcms.jobs.spec import APART, FIELDS, SpecError, check_spec
from kcms.jobs.states import State
from kcms.manager.litter_rows import Litter
from kcms.manager.memory import under_way

RESTORE = "stop this manager, keep a copy of its directory, and put the last backup back"
NEWER = "use the newer release (playbooks/upgrade.yml)"
GIVE_UP = "kcms kill it as root of the head; if that fails, " + RESTORE
LOOK = "look into the journal of its manager for that time, and into the output of the job"
HIGHEST_ID = (1 << 32) - 2
_STORE = re.compile(r"[0-9a-f]{8}")
_FIELDS = frozenset(each.name for each in (*FIELDS, *APART))
_WITHOUT_NODE = (State.PENDING, State.CANCELLED, State.NODE_FAIL)
"""Of tasks that may have none: they wait, were killed so, or were given up by a restore."""


@dataclass(frozen=True)
class Finding:
    """``about`` is what it is of: the store, a job, a node."""

    about: str
    message: str
    todo: str


def of_job(job: Job, row_priority: int, last_state: str | None) -> Iterator[Finding]:
    """What is wrong with a job that could be read.

    :param row_priority: the one in its column, which the queue is ordered by
    :param last_state: the state that the last event of it told; None when it has none
    """
    for message, todo in _of_job(job, row_priority, last_state):
        yield Finding(f"job {job.id}", message, todo)


def _of_job(job: Job, row_priority: int, last_state: str | None) -> Iterator[tuple[str, str]]:
    yield from _of_spec(job.spec, row_priority)
    if not 0 <= job.uid <= HIGHEST_ID or not 0 <= job.gid <= HIGHEST_ID:
        yield f"it is of uid {job.uid} and gid {job.gid}, which nobody can have", RESTORE
    if job.state.final and job.end_time is None:
        yield f"it is {job.state.value} and has no end time: its record was half written", LOOK
    if not job.state.final and job.end_time is not None:
        yield f"it is {job.state.value} and has an end time: it may run once more", GIVE_UP
    if last_state is None:
        yield "nothing tells how it came about: a standby would not have it", LOOK
    elif last_state != job.state.value:
        told = f"it is {job.state.value}, and the last that was told of it is {last_state}"
        yield f"{told}: a change is lost, or is half written", LOOK
    yield from _of_tasks(job)
    yield from _of_migration(job)
    for task in job.saved_tasks:
        yield from _of_saved(job, task)


def _of_spec(spec: Mapping[str, Any], row_priority: int) -> Iterator[tuple[str, str]]:
    unknown = sorted(spec.keys() - _FIELDS)
    if unknown:
        yield f"it asks for {', '.join(unknown)}, which this release does not know", NEWER
    try:
        check_spec({name: value for name, value in spec.items() if name in _FIELDS}, kept=True)
    except SpecError as error:
        yield f"what it asks for cannot be: {error}", GIVE_UP
        return
    if spec.get("priority") != row_priority:
        told = f"priority {spec.get('priority')} is asked for, and {row_priority} is on record"
        yield f"{told}: it waits in the wrong place", GIVE_UP


def _of_tasks(job: Job) -> Iterator[tuple[str, str]]:
    for task in job.tasks:
        nowhere = task.epoch < 1 or not task.node
        if task.index < 0 or task.epoch < 0 or (nowhere and task.state not in _WITHOUT_NODE):
            yield f"task {task.index} has epoch {task.epoch} on {task.node!r}", GIVE_UP
        if task.index >= job.size:
            yield f"task {task.index} is there, and it has {job.size} tasks", GIVE_UP
        if task.restarts < 0 or not 0 <= task.unit <= task.index:
            told = f"task {task.index} is of unit {task.unit} and began anew {task.restarts} times"
            yield told, GIVE_UP
    placed = [task for task in job.tasks if task.state in (State.RUNNING, State.SUSPENDED)]
    if job.state.final and placed:
        yield (
            f"it is {job.state.value}, and task {placed[0].index} is still open on "
            f"{placed[0].node}: it may run there, and nobody follows it",
            f"look for it on {placed[0].node} with systemctl list-units 'kcms-task-{job.id}.*'",
        )
    if job.state is State.PENDING and placed:
        yield (
            f"it waits, and task {placed[0].index} is placed on {placed[0].node}: it could run "
            "twice",
            GIVE_UP,
        )
    running = job.state in (State.RUNNING, State.SUSPENDED)
    if running and not job.open_tasks and not job.unplaced_count:
        yield f"it is {job.state.value} and has no open task: it would never end", GIVE_UP
    if job.fate is not None and job.state.final:
        told = f"it is {job.state.value}, and to become {job.fate.state.value} later"
        yield f"{told}: a change is half written", LOOK


def _of_migration(job: Job) -> Iterator[tuple[str, str]]:
    moving = job.migration
    if moving is None:
        return
    if moving.phase not in (*STEPS, *OVER):
        yield f"its migration is in the unknown phase {moving.phase!r}", GIVE_UP
    elif not moving.over and under_way(job) is None:
        yield f"it is {job.state.value}, and its migration is not over", LOOK
    elif moving.over and moving.end_time is None:
        yield "its migration is over and has no end time", LOOK
    task = job.task(moving.task)
    if not 0 <= moving.task < job.size:
        yield f"its migration is of task {moving.task}, and it has {job.size} tasks", GIVE_UP
    elif under_way(job) is not None and (task is None or not task.open):
        yield f"its migration is of task {moving.task}, which does not run", GIVE_UP
    if moving.epoch < 1:
        yield f"its migration has epoch {moving.epoch}", GIVE_UP


def _of_saved(job: Job, task: Task) -> Iterator[tuple[str, str]]:
    saved = task.saved
    numbers = [each.number for each in saved.kept]
    if numbers != sorted(set(numbers), reverse=True) or any(n > saved.last for n in numbers):
        told = f"task {task.index} has the checkpoints {numbers}, and the last is {saved.last}"
        yield f"{told}: another may be taken for one of them", GIVE_UP
    if any(not each.image.path.startswith("/") or each.image.size < 0 for each in saved.kept):
        yield f"task {task.index} has a checkpoint whose image cannot be", GIVE_UP
    if job.state.final and saved.kept:
        told = f"it is {job.state.value}, and checkpoints of task {task.index} are on record"
        yield f"{told}: nobody removes {saved.kept[0].image.path}", "remove it, as the owner"
    if job.state.final and saved.saving is not None:
        yield f"it is {job.state.value}, and a checkpoint of it is under way", LOOK


def of_litter(row: Litter, highest: int) -> Iterator[Finding]:
    """Whether images that are to be removed are some."""
    if not row.paths or not all(isinstance(p, str) and p.startswith("/") for p in row.paths):
        told = f"images are to be removed that cannot be: {list(row.paths)!r:.100}"
        yield Finding(f"job {row.job}", told, LOOK)
    if row.job > highest or row.number < 1:
        told = f"images are to be removed by a move of the number {row.number}"
        yield Finding(f"job {row.job}", told, LOOK)


def of_losses(text: Any) -> Iterator[Finding]:
    """Whether what was seen of losses of nodes can be read."""
    try:
        seen = Losses(**json.loads(text or "{}"))
        sound = seen.up_seconds >= 0 and seen.count >= 0
    except (ValueError, TypeError):
        sound = False
    if not sound:
        told = f"what was seen of losses of nodes is {text!r:.60}: the manager will not start"
        yield Finding("the store", told, RESTORE)


def of_exit(job: int, task: Task) -> Iterator[Finding]:
    """Whether the record of a task's end is one.  :raises ProtocolError: it is none"""
    if task.exit is None:
        return
    found = Exit.parse(asdict(task.exit))
    if (found.code is None) == (found.signal is None):
        told = f"task {task.index} ended with status {found.code} and signal {found.signal}"
        yield Finding(f"job {job}", f"{told}: it must be one of both", LOOK)


def of_events(first: int, last: int, count: int, given: int) -> Iterator[Finding]:
    """Whether the events are numbered without a gap, as a standby follows them.

    :param given: the highest number that SQLite has ever given
    """
    if count and last - first + 1 != count:
        told = f"of the events {first} to {last} there are {count}"
        yield Finding("the store", f"{told}: some were taken out", RESTORE)
    if given < last:
        told = f"event {last} is there, and the last number that was given is {given}"
        yield Finding("the store", f"{told}: one may be given again", RESTORE)


def of_meta(meta: Mapping[str, Any], cluster: str) -> Iterator[Finding]:
    """Whether the store says whose and which it is."""
    if meta.get("cluster") != cluster:
        told = f"it is that of cluster {meta.get('cluster')!r}, not of {cluster!r}"
        yield Finding("the store", told, "put that cluster's own store there")
    if not isinstance(meta.get("store"), str) or not _STORE.fullmatch(meta["store"]):
        told = f"its id is {meta.get('store')!r}: tasks on nodes cannot be told from others"
        yield Finding("the store", told, RESTORE)
    last = meta.get("last_job", 0)
    if type(last) is not int or last < 0:
        told = f"the numbers that are left out end at {last!r}: they may be given again"
        yield Finding("the store", told, RESTORE)


def of_unsure(unsure: Any, jobs: frozenset[int]) -> Iterator[Finding]:
    """Whether what a restore left unsure is of jobs that are there.

    :param jobs: those of its numbers that are
    """
    for each in unsure if isinstance(unsure, list) else [unsure]:
        named = isinstance(each, list) and len(each) == 3 and all(type(n) is int for n in each)
        if not named:
            told = f"{each!r:.60} is noted as unsure after a restore, and is no task"
        elif each[0] not in jobs:
            told = f"task {each[0]}.{each[1]}.{each[2]} is noted as unsure, and there is no job"
        else:
            continue
        yield Finding("the store", f"{told}: a task may start twice", RESTORE)
