"""What the job store keeps, as values and as rows of its tables; the order is the tables' own."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from kcms.jobs.checkpointing import Saved
from kcms.jobs.migration import Migration
from kcms.jobs.model import Exit, Fate, Job, Task
from kcms.jobs.states import State


@dataclass(frozen=True)
class Event:
    """What happened to a job, for the log that a standby follows.  ``kind`` is a short word.

    ``job`` is 0 for what happened to a node.
    """

    time: float
    job: int
    kind: str
    document: dict[str, Any]


@dataclass(frozen=True)
class Drain:
    """Why a node is out of use, at whose wish, since when (seconds since the epoch).

    ``migrate`` says that it is to be empty: what runs there is moved away, see
    :mod:`kcms.manager.leaving`.
    """

    reason: str
    by: str
    time: float
    migrate: bool = False


JOB_COLUMNS = (
    "id, user, uid, gid, state, reason, submit_host, submit_time, start_time, end_time, key,"
    " killed_by, spec, migration, held_by, fate"
)
TASK_COLUMNS = (
    "job, task, epoch, node, state, start_time, message, exit, first, killed_by, restarts, lease,"
    " saved"
)
PUT_JOB = """
INSERT INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET state = excluded.state, reason = excluded.reason,
  start_time = excluded.start_time, end_time = excluded.end_time, killed_by = excluded.killed_by,
  migration = excluded.migration, held_by = excluded.held_by, fate = excluded.fate
  WHERE user = excluded.user AND submit_time = excluded.submit_time
"""
PUT_TASK = "INSERT OR REPLACE INTO tasks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


def of_job(job: Job) -> tuple[Any, ...]:
    """For :data:`PUT_JOB`."""
    return (
        job.id,
        job.user,
        job.uid,
        job.gid,
        job.state.value,
        job.reason,
        job.priority,
        job.submit_host,
        job.submit_time,
        job.start_time,
        job.end_time,
        job.key,
        job.killed_by,
        json.dumps(job.spec),
        None if job.migration is None else json.dumps(asdict(job.migration)),
        job.held_by,
        None if job.fate is None else json.dumps([job.fate.state.value, job.fate.reason]),
    )


def job(row: tuple[Any, ...], cluster: str, tasks: tuple[Task, ...]) -> Job:
    """Of :data:`JOB_COLUMNS`."""
    return Job(
        id=row[0],
        cluster=cluster,
        user=row[1],
        uid=row[2],
        gid=row[3],
        state=State(row[4]),
        reason=row[5],
        submit_host=row[6],
        submit_time=row[7],
        start_time=row[8],
        end_time=row[9],
        key=row[10],
        killed_by=row[11],
        spec=dict(json.loads(row[12])),
        migration=None if row[13] is None else migration(json.loads(row[13])),
        held_by=row[14],
        fate=None if row[15] is None else _fate(json.loads(row[15])),
        tasks=tasks,
    )


def migration(document: dict[str, Any]) -> Migration:
    """What another release put there besides is passed over."""
    known = {each.name for each in fields(Migration)}
    return Migration(**{name: each for name, each in document.items() if name in known})


def _fate(values: list[str]) -> Fate:
    return Fate(State(values[0]), values[1])


def of_task(job: int, task: Task) -> tuple[Any, ...]:
    """For :data:`PUT_TASK`."""
    record = None if task.exit is None else json.dumps(task.exit.document())
    return (
        job,
        task.index,
        task.epoch,
        task.node,
        task.state.value,
        task.start_time,
        task.message,
        record,
        task.first,
        task.killed_by,
        task.restarts,
        task.lease,
        None if (saved := task.saved.record()) is None else json.dumps(saved),
    )


def task(row: tuple[Any, ...]) -> Task:
    """Of :data:`TASK_COLUMNS`, without the job."""
    return Task(
        index=row[0],
        epoch=row[1],
        node=row[2],
        state=State(row[3]),
        start_time=row[4],
        message=row[5],
        exit=None if row[6] is None else Exit(**json.loads(row[6])),
        first=row[7],
        killed_by=row[8],
        restarts=row[9],
        lease=row[10],
        saved=Saved.of_record(None if row[11] is None else json.loads(row[11])),
    )
