"""What a job takes of a node, and what the node's release has to be able to do for it.  Pure."""

from __future__ import annotations

from typing import NamedTuple

from kcms.jobs.model import ATTACH, CHECKPOINT, LEASE, LIMITED, LIMITS, STAGE, TASKS, Job
from kcms.jobs.paths import JOB_ID, TASK, USER
from kcms.jobs.spec import begins_anew, is_interactive

_MARKED = (("input", (JOB_ID, TASK, USER)), ("output", (TASK, USER)), ("error", (TASK, USER)))
"""What in the names of files the first release left as it was."""


class Demand(NamedTuple):
    """What each task of a job takes: ``cpus`` slots, and ``memory`` in MiB, 0 for none in
    particular.  ``per_node`` is how many of them a node may have at once, None for any number;
    ``needs`` are abilities of :data:`kcms.jobs.model.ABILITIES`; ``metric`` ranks the nodes.
    ``resumes`` is the job's number when a task of it goes on from an image, which not every node
    can take, and 0 otherwise.
    """

    needs: frozenset[str]
    partition: str | None
    cpus: int
    memory: int
    per_node: int | None
    metric: str
    resumes: int = 0

    @classmethod
    def of(cls, job: Job) -> Demand:
        spec = job.spec
        return cls(
            needs_of(job),
            spec.get("partition"),
            cpus_of(job),
            memory_of(job),
            spec.get("tasks_per_node"),
            spec.get("load_metric") or "load",
            job.id if job.resumes else 0,
        )


def is_limited(job: Job) -> bool:
    """Whether its node has to keep to something for it."""
    return any(job.spec.get(each) for each in LIMITED)


def is_restartable(job: Job) -> bool:
    """Whether it is begun anew when its node is lost, so that it must not run on unseen."""
    return begins_anew(job.spec)


def memory_of(job: Job) -> int:
    """MiB that each task of a job is promised; 0 when it asked for nothing in particular."""
    return int(job.spec.get("memory") or 0)


def cpus_of(job: Job) -> int:
    """Slots that each task of a job takes."""
    return int(job.spec.get("cpus_per_task") or 1)


def needs_of(job: Job) -> frozenset[str]:
    """The abilities that a node must have for it."""
    needs = []
    if is_limited(job):
        needs.append(LIMITS)
    if job.job_class != "single" or _is_marked(job):
        needs.append(TASKS)
    if is_restartable(job):
        needs.append(LEASE)
    if is_interactive(job.spec):
        needs.append(ATTACH)
    if job.spec.get("staged"):
        needs.append(STAGE)
    if job.resumes and job.size == 1:
        needs.append(CHECKPOINT)
    return frozenset(needs)


def _is_marked(job: Job) -> bool:
    return any(mark in (job.spec.get(name) or "") for name, marks in _MARKED for mark in marks)
