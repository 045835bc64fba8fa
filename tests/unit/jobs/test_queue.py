"""The order of waiting jobs, and what keeps one back."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.jobs.model import Job
from kcms.jobs.queue import Followed, Gate, gate, turn, waits
from kcms.jobs.states import State


def job(number: int, priority: int = 0, time: float = 0.0, **changes: Any) -> Job:
    spec = {"name": "x", "executable": "/shared/x", "priority": priority}
    return Job(number, "alpha", "alice", 2001, 2001, spec, "alpha1", time, **changes)


def test_higher_priority_then_number_whatever_the_clock_said() -> None:
    jobs = [
        job(1, priority=0, time=10.0),
        job(2, priority=5, time=30.0),
        job(3, priority=5, time=20.0),
        job(4, priority=-1, time=1.0),
        job(6, priority=0, time=10.0),
        job(5, priority=0, time=10.0),
    ]
    assert [each.id for each in sorted(jobs, key=turn)] == [2, 3, 1, 5, 6, 4]


def test_only_pending_jobs_wait() -> None:
    jobs = [job(number, state=state) for number, state in enumerate(State, start=1)]
    assert [each.state for each in jobs if waits(each)] == [State.PENDING]


@pytest.mark.parametrize(
    ("kind", "other", "reason", "never"),
    [
        ("after", job(7), "waits for job 7 (after)", False),
        ("after", job(7, state=State.RUNNING), "waits for job 7 (after)", False),
        ("after", job(7, state=State.RUNNING, start_time=5.0), None, False),
        ("after", job(7, state=State.CANCELLED), None, False),
        ("afterany", job(7, state=State.RUNNING, start_time=5.0), "waits for job 7", False),
        ("afterany", job(7, state=State.NODE_FAIL), None, False),
        ("afterok", job(7, state=State.RUNNING, start_time=5.0), "waits for job 7", False),
        ("afterok", job(7, state=State.COMPLETED), None, False),
        ("afterok", job(7, state=State.TIMEOUT), "follow (afterok), ended as TIMEOUT", True),
        ("afternotok", job(7, state=State.FAILED), None, False),
        ("afternotok", job(7, state=State.COMPLETED), "(afternotok), ended as COMPLETED", True),
        ("afterany", None, "job 7, which it was to follow (afterany), is not known", True),
    ],
)
def test_a_job_follows_another(
    kind: str, other: Job | None, reason: str | None, never: bool
) -> None:
    follows = job(9)
    follows.spec["dependency"] = [f"{kind}:7"]
    found = gate(follows, 0.0, {7: Followed.of(other) if other else None}.get)
    if reason is None:
        assert found is None
    else:
        assert found is not None
        assert reason in found.reason
        assert found.never is never


def test_of_several_each_must_be_met() -> None:
    follows = job(9)
    follows.spec["dependency"] = ["afterok:7", "afterok:8"]
    known = {7: Followed(State.COMPLETED, True), 8: Followed(State.PENDING, False)}
    assert gate(follows, 0.0, known.get) == Gate("waits for job 8 (afterok)")


def test_held_and_to_begin_later() -> None:
    late = job(9, held_by="alice")
    late.spec["begin_time"] = 1_893_456_000
    assert gate(late, 0.0, {}.get) == Gate("held by alice")
    late = job(9)
    late.spec["begin_time"] = 1_893_456_000
    assert gate(late, 0.0, {}.get) == Gate("begins at 2030-01-01 00:00:00 UTC")
    assert gate(late, 1_893_456_000.0, {}.get) is None
    assert gate(job(9), 0.0, {}.get) is None
