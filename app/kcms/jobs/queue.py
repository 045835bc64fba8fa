"""The order in which waiting jobs are considered: priority first, then age."""

from __future__ import annotations

from collections.abc import Iterable

from kcms.jobs.model import Job
from kcms.jobs.states import State


def waiting(jobs: Iterable[Job]) -> list[Job]:
    """The PENDING jobs, the one to be considered first at the front."""
    pending = (job for job in jobs if job.state is State.PENDING)
    return sorted(pending, key=lambda job: (-job.priority, job.submit_time, job.id))
