"""Which tasks of a job are told of."""

from __future__ import annotations

import pytest

from kcms.jobs.listed import ALL, Listed
from kcms.jobs.model import Job, Task
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State

STATES = {3: State.PENDING, 4: State.RUNNING, 6: State.SUSPENDED, 7: State.FAILED, 8: State.TIMEOUT}


def batch(placed: int = 9, size: int = 12) -> Job:
    """Tasks 0 to 8, of which 7 and 8 went wrong, 4 and 6 run, and 3 is to be begun anew."""
    spec = check_spec({"executable": "/x", "class": "batch", "total_tasks": size})
    tasks = tuple(Task(i, 1, "a", STATES.get(i, State.COMPLETED)) for i in range(placed))
    return Job(1, "alpha", "bob", 1, 1, spec, "h", 1.0, State.RUNNING, tasks=tasks)


@pytest.mark.parametrize(
    ("listed", "indexes"),
    [
        (ALL, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (Listed(20), [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (Listed(0), []),
        (Listed(1), [7]),
        (Listed(3), [4, 7, 8]),
        (Listed(5), [0, 4, 6, 7, 8]),
        (Listed(task=5), [5]),
        (Listed(task=11), []),
        (Listed(2, 5), [5, 7, 8]),
        (Listed(2, 7), [7, 8]),
    ],
)
def test_what_went_wrong_is_first_and_then_what_runs(listed: Listed, indexes: list[int]) -> None:
    document = listed.of(batch()).document()
    assert [task["index"] for task in document["tasks"]] == indexes
    counts = {"COMPLETED": 4, "RUNNING": 1, "SUSPENDED": 1, "FAILED": 1, "TIMEOUT": 1, "PENDING": 4}
    assert document["task_counts"] == counts
    assert listed.of(listed.of(batch())) == listed.of(batch())


def test_a_document_shares_nothing_that_its_reader_may_change() -> None:
    job = batch()
    document = job.document()
    document["tasks"].clear()
    document["task_counts"].clear()
    del document["spec"]["environment"]
    assert len(job.document()["tasks"]) == 9
    assert job.document()["task_counts"]["COMPLETED"] == 4
    assert "environment" in job.document()["spec"]
