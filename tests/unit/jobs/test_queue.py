"""The order of waiting jobs."""

from __future__ import annotations

from typing import Any

from kcms.jobs.model import Job
from kcms.jobs.queue import waiting
from kcms.jobs.states import State


def job(number: int, priority: int = 0, time: float = 0.0, **changes: Any) -> Job:
    spec = {"name": "x", "executable": "/shared/x", "priority": priority}
    return Job(number, "alpha", "alice", 2001, 2001, spec, "alpha1", time, **changes)


def test_higher_priority_then_age_then_number() -> None:
    jobs = [
        job(1, priority=0, time=10.0),
        job(2, priority=5, time=30.0),
        job(3, priority=5, time=20.0),
        job(4, priority=-1, time=1.0),
        job(6, priority=0, time=10.0),
        job(5, priority=0, time=10.0),
    ]
    assert [each.id for each in waiting(jobs)] == [3, 2, 1, 5, 6, 4]


def test_only_pending_jobs_wait() -> None:
    jobs = [job(number, state=state) for number, state in enumerate(State, start=1)]
    assert [each.state for each in waiting(jobs)] == [State.PENDING]
