"""The tasks of a job of several, on its page."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.errors import InvalidRequest
from kcms.web import tasks, work


def job(count: int, **states: str) -> dict[str, Any]:
    rows = [
        {
            "index": index,
            "state": states.get(f"t{index}", "COMPLETED"),
            "node": f"alpha{index % 6}",
            "start_time": 100.0,
            "exit": {"code": 3, "signal": None, "time": 107.0} if index == 1 else None,
            "message": "exit status 3" if index == 1 else "",
        }
        for index in range(count)
    ]
    spec = {"class": "batch", "total_tasks": count}
    return {"spec": spec, "tasks": rows, "task_counts": {"RUNNING": 2, "FAILED": 1}}


def test_each_task_is_a_row() -> None:
    found = tasks.rows(job(3, t1="FAILED", t2="RUNNING"), 110.0)
    assert [(each.index, each.state, each.node) for each in found] == [
        (0, "COMPLETED", "alpha0"),
        (1, "FAILED", "alpha1"),
        (2, "RUNNING", "alpha2"),
    ]
    assert (found[1].took, found[1].exit, found[1].message) == ("7 s", "3", "exit status 3")
    assert found[2].took == "10 s"
    assert tasks.counted(job(3)) == "1 FAILED, 2 RUNNING"
    assert work.node_words(job(9)["tasks"]) == "alpha0, alpha1, alpha2, alpha3 and 2 more"


def test_of_many_those_that_went_wrong_are_shown_first() -> None:
    found = tasks.rows(job(5000, t4000="FAILED", t4999="RUNNING"), 110.0)
    assert len(found) == tasks.SHOWN
    assert [each.index for each in found][-2:] == [4000, 4999]


def test_the_one_that_is_looked_at_is_shown_with_them() -> None:
    found = tasks.rows(job(5000, t4000="FAILED", t4999="RUNNING"), 110.0, 3000)
    assert len(found) == tasks.SHOWN + 1
    assert [each.index for each in found][-3:] == [3000, 4000, 4999]
    assert len(tasks.rows(job(5000), 110.0, 3)) == tasks.SHOWN


@pytest.mark.parametrize(
    ("text", "index"),
    [(None, None), ("", None), ("x", None), ("7", 7), ("9999", 9999), ("10000", None)],
)
def test_the_task_to_ask_for(text: str | None, index: int | None) -> None:
    assert tasks.named(text) == index


def test_figures_of_some_tasks_are_said_to_be_theirs() -> None:
    whole = {**job(tasks.SHOWN), "state": "FAILED", "id": 1, "submit_host": "h"}
    part = {**whole, "spec": {**whole["spec"], "total_tasks": 5000}}
    assert (tasks.is_part(whole), tasks.is_part(part)) == (False, True)
    row = work.job_row(part, 110.0)
    assert ("Exit of the tasks below", "3") in work.job_facts(part, row, 110.0, True)
    assert ("Exit", "3") in work.job_facts(whole, row, 110.0)


def test_a_single_job_has_no_table() -> None:
    single = {"spec": {"class": "single", "total_tasks": None}, "tasks": [{}]}
    assert tasks.rows(single, 1.0) == []


@pytest.mark.parametrize(("text", "index"), [(None, 0), ("", 0), ("0", 0), ("2", 2)])
def test_the_task_that_is_chosen(text: str | None, index: int) -> None:
    assert tasks.chosen(job(3), text) == index


@pytest.mark.parametrize("text", ["3", "-1", "x", "02", "1" * 40, "\u0661"])
def test_no_such_task(text: str) -> None:
    with pytest.raises(InvalidRequest, match="task must be from 0 to 2, not"):
        tasks.chosen(job(3), text)
