"""Which tasks of a job are told of when nobody reads all of them.  Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kcms.jobs.model import Job, Task
from kcms.jobs.states import State

LISTED_TASKS = 16
"""Tasks of each job in a listing, and in the answer to a call that changes a job."""

RUNS = frozenset({State.RUNNING, State.SUSPENDED})
REST = frozenset({State.PENDING, State.COMPLETED})


@dataclass(frozen=True)
class Listed:
    """At most ``most`` tasks, and the one with the index ``task``, when it was ever placed.

    With neither all of them, with a ``task`` alone no other.
    """

    most: int | None = None
    task: int | None = None

    @property
    def limit(self) -> int | None:
        """How many tasks are chosen by how they went; None for all."""
        return 0 if self.most is None and self.task is not None else self.most

    def of(self, job: Job) -> Job:
        """The job with these tasks, in their order, and all of them counted."""
        limit = self.limit
        if limit is None or len(job.tasks) <= limit:
            return job
        chosen = {task.index: task for task in _first(job.tasks, limit)}
        named = None if self.task is None else job.task(self.task)
        if named is not None:
            chosen[named.index] = named
        tasks = tuple(chosen[index] for index in sorted(chosen))
        return replace(job, tasks=tasks, counted=job.counts)


ALL = Listed()


def _first(tasks: tuple[Task, ...], most: int) -> list[Task]:
    """What went wrong, then what runs, then the rest."""
    if not most:
        return []
    ranks: tuple[list[Task], ...] = ([], [], [])
    for task in tasks:
        ranks[1 if task.state in RUNS else 2 if task.state in REST else 0].append(task)
    return [task for rank in ranks for task in rank][:most]
