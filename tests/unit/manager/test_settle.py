"""What becomes of open jobs when an older copy of the job store is put back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.jobs.migration import Migration
from kcms.jobs.model import Job, Task
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State
from kcms.manager.backup import settled
from kcms.manager.memory import TaskKey
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.world import World, said

TAKEN, NOW = 1_700_000_000.0, 1_700_009_000.0
REASON = "restored from a backup of 2023-11-14 22:13:20 UTC: may have run since"
PLACED = Task(0, 1, "alpha1", State.RUNNING)
BEGUN = replace(PLACED, start_time=TAKEN - 60)


def job(**changes: Any) -> Job:
    spec = check_spec({"executable": "/shared/x"})
    return replace(Job(7, "alpha", "alice", 2001, 2001, spec, "alpha1", TAKEN - 100), **changes)


def test_a_job_that_waited_may_have_run_since() -> None:
    (after,) = settled([job()], TAKEN, NOW)
    assert (after.state, after.reason, after.end_time) == (State.NODE_FAIL, REASON, NOW)
    assert after.tasks == ()


def test_a_task_that_had_not_begun_may_have_run_since() -> None:
    (after,) = settled([job(state=State.RUNNING, tasks=(PLACED,))], TAKEN, NOW)
    assert (after.state, after.reason) == (State.NODE_FAIL, REASON)
    assert [(task.state, task.message) for task in after.tasks] == [(State.NODE_FAIL, REASON)]


@pytest.mark.parametrize("killed_by", [None, "alice"])
def test_a_task_that_had_begun_is_left_to_its_node(killed_by: str | None) -> None:
    running = job(state=State.RUNNING, tasks=(BEGUN,), killed_by=killed_by)
    assert list(settled([running], TAKEN, NOW)) == []


def test_a_placement_after_an_earlier_one_ended_is_what_counts() -> None:
    """A job that waits again after its first node was lost has an old task that is over."""
    again = job(tasks=(replace(BEGUN, state=State.NODE_FAIL, message="lost"),))
    (after,) = settled([again], TAKEN, NOW)
    assert after.state is State.NODE_FAIL
    assert after.tasks[0].message == "lost"


def test_a_migration_under_way_is_over_and_the_job_is_left_to_its_node() -> None:
    moving = Migration(1, "alpha1", "alpha2", 2, "dumping", "alice", TAKEN - 5)
    running = job(state=State.RUNNING, tasks=(BEGUN,), migration=moving)
    (after,) = settled([running], TAKEN, NOW)
    assert after.state is State.RUNNING
    assert after.migration is not None
    assert (after.migration.phase, after.migration.message) == ("failed", REASON)


def restored(world: World, *keys: TaskKey) -> None:
    """The manager begins anew on a copy of its store, and has heard nobody yet."""
    world.memory.unsure = frozenset(keys)
    for node in world.memory.nodes.values():
        node.report = None


def test_what_had_begun_is_not_started_on_the_word_of_a_copy() -> None:
    """Its node may have run it to its end and forgotten it: it would run twice."""
    world = World("a1")
    number = world.submit()
    world.report("a1", said("running", number, start_time=900.0))
    restored(world, (number, 0, 1))
    assert wanted_tasks(world.memory, "a1") == []
    world.report("a1")
    assert wanted_tasks(world.memory, "a1") == []
    world.report("a1")
    ended = world.over[number]
    assert ended.state is State.NODE_FAIL
    assert "no record of the task" in ended.reason


def test_what_still_runs_goes_on_once_its_node_names_it() -> None:
    world = World("a1")
    number = world.submit()
    world.report("a1", said("running", number, start_time=900.0))
    restored(world, (number, 0, 1))
    world.report("a1", said("running", number, start_time=900.0))
    assert [each.want for each in wanted_tasks(world.memory, "a1")] == ["run"]
    assert world.memory.jobs[number].state is State.RUNNING


def test_a_kill_is_wanted_though_the_node_was_not_heard() -> None:
    world = World("a1")
    number = world.submit()
    world.report("a1", said("running", number, start_time=900.0))
    world.kill(number)
    restored(world, (number, 0, 1))
    assert [each.want for each in wanted_tasks(world.memory, "a1")] == ["kill"]
