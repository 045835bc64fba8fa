"""Tasks on the nodes that are not of the manager's job store."""

from __future__ import annotations

import pytest

from kcms.jobs.model import Exit, NodeReport
from kcms.jobs.states import State
from kcms.manager import core, nodes
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.world import BOB, World, said

# other job stores --------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["launching", "running", "ended", "lost", "refused"])
def test_a_task_of_another_store_is_not_followed_forgotten_or_killed(phase: str) -> None:
    world = World("a")
    world.memory.store = "bbbbbbbb"
    mine, over = world.submit(BOB), world.submit(BOB)
    world.report("a", said("ended", over, exit=Exit(0, None, 2.0), store="bbbbbbbb"))
    before = world.job(mine)
    exits = {"exit": Exit(9, None, 1002.0)} if phase == "ended" else {}
    foreign = [said(phase, n, store="aaaaaaaa", **exits) for n in (mine, over)]
    assert world.report("a", *foreign) == []
    assert world.job(mine) == before
    assert world.wanted("a") == [(mine, 0, 1, "run")]
    (row,) = nodes.documents(world.memory)
    assert row["used"] == (3 if phase in ("launching", "running") else 1)
    assert [each.name for each in world.memory.nodes["a"].foreign] == [
        f"{n}.0.1-aaaaaaaa" for n in (mine, over)
    ]


def test_a_task_of_another_store_is_no_sign_of_life_of_ours() -> None:
    world = World("a")
    world.memory.store = "bbbbbbbb"
    number = world.submit()
    world.report("a", said("running", store="bbbbbbbb"))
    for _ in range(2):
        world.report("a", said("running", store="aaaaaaaa"))
    assert world.job(number).state is State.NODE_FAIL


def test_slots_of_tasks_of_another_store_are_taken_until_they_end() -> None:
    world = World("a", slots=1)
    world.memory.store = "bbbbbbbb"
    world.report("a", said("running", 77, store="aaaaaaaa"))
    number = world.submit()
    assert world.job(number).state is State.PENDING
    world.report("a", said("ended", 77, store="aaaaaaaa"))
    assert world.job(number).state is State.RUNNING
    assert [each.store for each in wanted_tasks(world.memory, "a")] == ["bbbbbbbb"]


@pytest.mark.parametrize("phase", ["launching", "running", "ended", "lost", "refused"])
def test_a_task_of_a_job_that_an_older_copy_of_the_store_never_had_is_left_alone(
    phase: str,
) -> None:
    world = World("a")
    there = NodeReport("boot", "1", 2, {"load_one": 0.0, "cpu_num": 2}, (said(phase, 7),))
    for _ in range(2):
        found = world.do(lambda draft: core.report(draft, "a", there, world.now, {7}))
        assert found == []
        assert world.wanted("a") == []
    assert world.submit() == 8


def test_one_node_cannot_use_up_the_numbers() -> None:
    world = World("a")
    there = NodeReport("boot", "1", 2, {"load_one": 0.0}, (said("running", 1 << 53),))
    world.do(lambda draft: core.report(draft, "a", there, world.now, {1 << 53}))
    assert world.submit() == 1
