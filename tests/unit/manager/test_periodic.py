"""Checkpoints that are made because it is time for them, and what is seen of losses of nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import Conflict
from kcms.jobs.intervals import FIRST_SECONDS, OWN_COST, Losses, cost, interval
from kcms.jobs.processes import Process
from kcms.jobs.spec import check_spec
from kcms.manager import checkpoints, core, holding
from kcms.manager.memory import Draft
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.test_checkpoints import image
from tests.unit.manager.world import ALICE, World, moved, said_running


def running(**fields: Any) -> World:
    world = World("a", "b")
    world.submit(**fields)
    world.report("a", said_running())
    world.now = 1001.0
    return world


def pass_time(world: World, seconds: int, **changes: Any) -> None:
    for _ in range(seconds):
        world.now += 1
        world.do(lambda draft: core.tick(draft, world.now, 1.0))
        world.report("a", said_running(), **changes)
        world.report("b")


def saving(world: World) -> int | None:
    found = world.job(1).tasks[0].saved.saving
    return None if found is None else found.number


def made(world: World, seconds: float = 1.0) -> None:
    number = saving(world)
    assert number is not None
    data = {**image(number), "time": world.now, "seconds": seconds}
    world.report("a", said_running(), moves=(moved("save", number=number, data=data),))
    world.report("a", said_running(), moves=(moved("keep", number=number),))


def test_a_job_is_saved_each_time_that_its_interval_passed() -> None:
    world = running(checkpoint_interval=60)
    pass_time(world, 59)
    assert saving(world) is None
    pass_time(world, 2)
    found = world.job(1).tasks[0].saved.saving
    assert found is not None
    assert found.by == "its interval"
    made(world)
    pass_time(world, 57)
    assert saving(world) is None
    pass_time(world, 3)
    assert saving(world) is not None


def test_a_job_without_an_interval_is_not_saved() -> None:
    for fields in ({}, {"requeue": True}, {"checkpoint_interval": 0}):
        world = running(**fields)
        pass_time(world, 400)
        assert saving(world) is None


def test_a_checkpoint_that_failed_is_tried_an_interval_later() -> None:
    world = running(checkpoint_interval=60)
    pass_time(world, 61)
    number = saving(world)
    no = moved("save", False, number=number or 0, message="it has a connection")
    world.report("a", said_running(), moves=(no,))
    assert saving(world) is None
    pass_time(world, 57)
    assert saving(world) is None
    pass_time(world, 3)
    assert saving(world) is not None


def test_a_node_that_makes_none_is_told_once_and_written_once() -> None:
    world = running(checkpoint_interval=10)
    pass_time(world, 12, abilities=("lease",))
    assert "makes none" in world.job(1).tasks[0].saved.failure
    before = world.kinds.count("checkpoint")
    pass_time(world, 50, abilities=("lease",))
    assert world.kinds.count("checkpoint") == before


def test_a_manager_that_starts_believes_the_clock_for_one_interval_at_the_most() -> None:
    world = running(checkpoint_interval=60)
    world.memory.ages.clear()
    world.now += 40
    pass_time(world, 19)
    assert saving(world) is None
    pass_time(world, 2)
    assert saving(world) is not None
    for moved_by in (-100_000, 100_000):
        world = running(checkpoint_interval=60)
        world.memory.ages.clear()
        world.now += moved_by
        pass_time(world, 61)
        assert saving(world) is not None


def test_a_suspended_job_is_saved_when_it_goes_on_and_not_before() -> None:
    world = running(checkpoint_interval=60)
    pass_time(world, 30)
    world.act(holding.suspend, 1, ALICE)
    pass_time(world, 100)
    assert saving(world) is None
    world.act(holding.resume, 1, ALICE)
    pass_time(world, 25)
    assert saving(world) is None
    pass_time(world, 10)
    assert saving(world) is not None


def test_a_job_that_moves_is_saved_once_it_does_not() -> None:
    world = running(checkpoint_interval=60)
    pass_time(world, 55)
    world.migrate(1, "b")
    pass_time(world, 20)
    assert saving(world) is None
    world.report("a", said_running(), moves=(moved("check", False, message="no"),))
    pass_time(world, 1)
    assert saving(world) is not None


def test_an_interval_that_is_left_to_the_cluster_is_that_of_the_cost() -> None:
    world = running(checkpoint_interval="auto")
    pass_time(world, int(FIRST_SECONDS) - 1)
    assert saving(world) is None
    pass_time(world, 2)
    world.memory.losses = Losses(1e6, 3)
    made(world, seconds=9.0)
    saved = world.job(1).tasks[0].saved
    seconds, why = interval(cost(0.1, 9.0), world.memory.losses)
    assert (saved.interval, saved.why) == (pytest.approx(seconds), why)
    assert world.job(1).document()["checkpoint"]["interval"] == saved.interval


def root(world: World) -> Process:
    return Process(77, 5, "x", 1, 0, world.job(1).tasks[0].epoch, "", root=True)


def test_a_job_that_saves_itself_is_signalled() -> None:
    world = running(checkpoint_interval="auto", checkpoint_signal="USR1")
    with pytest.raises(Conflict, match="a has not named its first process yet"):
        world.do(lambda draft: checkpoints.ask(draft, world.job(1), None, "alice", 1.0))
    other = replace(root(world), pid=78, birth=6, root=False)
    pass_time(world, int(FIRST_SECONDS) + 1, processes=(other, root(world)))
    (wanted,) = wanted_tasks(world.memory, "a")
    assert [(each.name, each.pid) for each in wanted.signals] == [("USR1", 77)]
    saved = world.job(1).tasks[0].saved
    assert saved.signalled is not None
    assert saved.interval == pytest.approx(interval(OWN_COST, Losses())[0], rel=1e-3)
    assert not saved.kept
    assert world.moves("a") == []
    world.do(lambda draft: checkpoints.ask(draft, world.job(1), None, "alice", world.now))
    (wanted,) = wanted_tasks(world.memory, "a")
    assert len(wanted.signals) == 2


def test_the_site_says_how_often_what_can_be_saved_is() -> None:
    world = World("a")
    world.memory.rules = replace(world.memory.rules, checkpoint_interval="auto")
    world.submit()
    world.submit(checkpoint_interval=0)
    world.submit(checkpoint_interval=30)
    world.submit(**{"class": "parallel"}, total_tasks=2)
    found = [world.job(number).spec.get("checkpoint_interval") for number in (1, 2, 3, 4)]
    assert found == ["auto", 0, 30, None]
    again = check_spec({"executable": "/shared/x"})
    core.check_same(world.job(1), again, "k")
    with pytest.raises(Conflict, match="with other fields"):
        core.check_same(world.job(1), {**again, "checkpoint_interval": 30}, "k")


def test_losses_are_those_of_nodes_that_were_at_work() -> None:
    world = running()
    world.memory.rules = replace(world.memory.rules, node_lost=50)
    kept: list[Losses] = []

    def tick(draft: Draft) -> None:
        core.tick(draft, world.now, 1.0)
        kept.extend([draft.losses] if draft.losses is not None else [])

    for _ in range(60):
        world.now += 1
        world.do(tick)
    assert [each.count for each in kept] == [1]
    assert kept[0].up_seconds == world.memory.losses.up_seconds == 2 * 30
    world.report("a", boot_id="another")
    assert world.memory.losses.count == 1

    world = running()
    world.report("b", boot_id="another")
    assert world.memory.losses.count == 0
    world.report("a", said_running(), boot_id="another")
    assert world.memory.losses.count == 1
