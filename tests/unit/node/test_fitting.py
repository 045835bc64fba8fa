"""A report of whatever tasks is one that its manager takes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kcms.jobs.model import REPORT_LIMIT, USAGE, Exit, NodeReport, TaskReport, WantedTask
from kcms.node import core, fitting, listing
from kcms.node.core import Record, Snapshot, Started, TaskId, Unit

TOOK = {
    **{each: 123456789.25 if "seconds" in each else 12345678 for each in USAGE},
    "sources": {"cpu": "cgroup", "memory": "wait", "io": "wait"},
}
GOOD = Exit(0, None, 1234567890.123456, usage=TOOK)
BAD = replace(GOOD, code=None, signal=11)
BARE = NodeReport("boot", "1.0", 1024, {})


def ends(ranks: int, *bad: int) -> dict[int, Exit]:
    return {each: BAD if each in bad else GOOD for each in range(ranks)}


def over(job: int, **more: object) -> TaskReport:
    task = TaskReport(job, 0, 1, "ended", 1000.0, Exit(0, None, 1002.0, usage=TOOK))
    return replace(task, **more)  # type: ignore[arg-type]


def sent(*tasks: TaskReport) -> tuple[TaskReport, ...]:
    """What the manager gets of them; everything within its limit."""
    text = json.dumps(listing.with_processes(replace(BARE, tasks=tasks), ()).document())
    assert len(text) <= REPORT_LIMIT
    return NodeReport.parse(json.loads(text)).tasks


def test_a_report_with_room_is_as_it_was() -> None:
    tasks = (over(1, ends=ends(256, 7)), over(2, phase="running", exit=None, ends=ends(64)))
    assert sent(*tasks) == tasks


def test_the_ends_of_many_ranks_are_all_told() -> None:
    (task,) = sent(over(1, ends=ends(768, 500)))
    assert task.ends.keys() == set(range(768))
    assert task.ends[500] == BAD
    assert all(task.ends[each].code == 0 for each in range(768) if each != 500)
    assert sum(not each.usage for each in task.ends.values()) < 250, "no more than it takes"
    assert len(sent(over(1, ends=ends(1500)))[0].ends) == 1500


def test_of_too_many_ranks_the_worst_are_told_and_the_others_end_as_their_unit() -> None:
    (task,) = sent(over(1, ends=ends(5000, 0, 4999)))
    assert 1000 < len(task.ends) < 5000
    assert {0, 4999} <= task.ends.keys()
    assert task.exit == over(1).exit


def test_early_ends_go_before_anything_of_what_is_over() -> None:
    early = over(2, phase="running", exit=None, ends=ends(300))
    told = sent(over(1, ends=ends(600)), early)
    assert told == (over(1, ends=ends(600)), replace(early, ends={}))


def test_many_tasks_with_long_messages() -> None:
    """A program's name is in a message, and each strange letter takes 6 bytes."""
    tasks = [over(each, message="\ufffd" * 4000) for each in range(150)]
    told = sent(*tasks)
    assert [each.job for each in told] == list(range(150))
    assert {each.message for each in told} == {"\ufffd" * fitting.BRIEF}


def test_what_runs_is_told_before_what_is_over() -> None:
    runs = [over(each, phase="running", exit=None) for each in range(5000, 5100)]
    told = sent(*(over(each) for each in range(3000)), *runs)
    assert [each.job for each in told[-100:]] == list(range(5000, 5100))
    assert [each.job for each in told[:500]] == list(range(500)), "the others when these are gone"


@pytest.mark.parametrize("alive", [True, False])
def test_only_some_ends_are_told_of_a_unit_that_still_runs(alive: bool) -> None:
    wanted = WantedTask(1, 0, 1, "run", "alice", 1, 1, {}, ranks=tuple(range(300)))
    record = Record(wanted=wanted, started=Started("b", 1.0), ends=ends(300, 299))
    record = record if alive else replace(record, exit=BAD)
    now = Snapshot({}, {TaskId(1, 0, 1): record}, {TaskId(1, 0, 1): Unit(alive)}, "b", 9.0)
    (task,) = core.reports(now)
    assert len(task.ends) == (fitting.EARLY_ENDS if alive else 300)
    assert next(iter(task.ends)) == (299 if alive else 0), "the worst first"
