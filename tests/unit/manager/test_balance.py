"""The balancer of a manager: what it observes, moves, leaves, remembers and tells."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from kcms.jobs.pressure import Marks
from kcms.manager import holding
from kcms.manager.balance import BALANCER
from kcms.manager.memory import under_way
from kcms.manager.watched import TOLD, Watch
from tests.unit.manager.crowd import Crowd, Work
from tests.unit.manager.world import ALICE

MARKS = Marks(hold=60.0)


@pytest.fixture
def three() -> tuple[Crowd, list[int]]:
    """A cluster of two nodes, one of which has three jobs for its two CPUs."""
    world = Crowd("a", "b", marks=MARKS)
    jobs = world.crowd("a", Work(), Work(), Work())
    return world, jobs


def test_one_of_three_goes_to_the_idle_node_and_then_nothing_moves(
    three: tuple[Crowd, list[int]],
) -> None:
    world, jobs = three
    world.pass_time(60)
    assert (world.begun, set(world.roles().values())) == ([], {"listening"})
    world.pass_time(60)
    ((_, number, source, target),) = world.begun
    assert (number in jobs, source, target) == (True, "a", "b")
    moved = world.job(number)
    assert moved.migration is not None
    assert (moved.migration.phase, moved.migration.by) == ("done", BALANCER)
    world.pass_time(2 * 3600)
    assert (len(world.begun), world.places()) == (1, {"a": 2, "b": 1})
    told = world.told()
    assert told["why"] == "no node has stood above 1.2 for each CPU for 60 s"
    (first,) = [each for each in told["decisions"] if each["job"] is not None]
    assert (first["job"], first["user"], first["outcome"]) == (
        *(number, "alice"),
        "done, stood still for 1.0 s",
    )
    assert f"job {number} from a (1.50 for each CPU) to b (0.00)" in first["message"]
    assert world.roles() == {"a": "neither", "b": "takes"}


def test_it_is_off_by_default() -> None:
    world = Crowd("a", "b", marks=None)
    world.crowd("a", Work(), Work(), Work())
    world.pass_time(3600)
    assert (world.begun, world.memory.watch) == ([], Watch())
    told = world.told()
    assert (told["on"], told["nodes"], told["decisions"]) == (False, [], [])
    assert "kcms_balance" in told["why"]


def test_a_manager_that_is_begun_anew_listens_first(three: tuple[Crowd, list[int]]) -> None:
    world, _ = three
    world.pass_time(55)
    world.memory.watch = Watch()  # as a restart leaves it
    world.pass_time(55)
    assert world.begun == []
    world.pass_time(30)
    assert len(world.begun) == 1


def test_a_job_that_refuses_rests_ever_longer_and_another_goes(
    three: tuple[Crowd, list[int]],
) -> None:
    world, jobs = three
    world.refuses["a", "check"] = "process 7 (x) has a TCP connection"
    world.pass_time(90)
    ((_, number, *_),) = world.begun
    world.pass_time(4 * 3600)
    tries = [each for each in world.begun if each[1] == number]
    gaps = [later[0] - each[0] for each, later in itertools.pairwise(tries)]
    assert {each[1] for each in world.begun} == set(jobs)
    assert (len(tries), world.places()) == (5, {"a": 3, "b": 0})
    for gap, pause in zip(gaps, (600, 1200, 2400, 4800), strict=False):
        assert gap >= pause
    told = world.told()
    (row,) = [each for each in told["staying"] if each["job"] == number]
    assert row["message"].startswith(
        "it could not be moved lately: a: process 7 (x) has a TCP connection; it is left where it"
    )
    outcomes = {each["outcome"] for each in told["decisions"] if each["job"] == number}
    assert outcomes == {"refused: a: process 7 (x) has a TCP connection"}


def test_what_moved_stays_and_nothing_comes_back_for_a_while(
    three: tuple[Crowd, list[int]],
) -> None:
    world, jobs = three
    world.pass_time(150)
    ((_, number, *_),) = world.begun
    for each in set(jobs) - {number}:
        world.kill(each)
    world.crowd("b", Work(), Work())  # now b is the crowded one
    world.pass_time(MARKS.pause - 100)
    (_, *more) = world.begun
    assert more == []
    notes = {each["message"] for each in world.told()["staying"] if each["job"] != number}
    assert notes == {"something moved from a to b lately"}
    world.pass_time(600)
    assert len(world.begun) == 2
    assert world.places() == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"class": "parallel", "total_tasks": 3}, "run together"),
        ({"partition": "left"}, "no node that takes has room for it"),
        ({"time_limit": 66}, "expected to run for"),
    ],
)
def test_what_cannot_or_need_not_go_stays_and_says_why(fields: dict[str, Any], why: str) -> None:
    world = Crowd("a", "b", marks=MARKS)
    partitions = {"left": frozenset({"a"})}
    world.memory.rules = replace(world.memory.rules, partitions=partitions)
    world.others = lambda name, now: 3.0 if name == "a" else 0.0
    world.crowd("a", *[Work()] * (1 if "class" in fields else 3), **fields)
    world.pass_time(120)
    assert world.begun == []
    assert {why in each["message"] for each in world.told()["staying"]} == {True}, world.told()


def test_what_is_suspended_stays(three: tuple[Crowd, list[int]]) -> None:
    world, jobs = three
    world.pass_time(5)
    for each in jobs:
        world.act(holding.suspend, each, ALICE)
    world.others = lambda name, now: 3.0 if name == "a" else 0.0
    world.pass_time(1200)
    assert world.begun == []
    assert {"is SUSPENDED" in each["message"] for each in world.told()["staying"]} == {True}


@pytest.mark.parametrize("jobs_only", [False, True])
def test_what_others_do_on_a_node_counts_or_not(jobs_only: bool) -> None:
    world = Crowd("a", "b", marks=replace(MARKS, jobs_only=jobs_only))
    world.crowd("a", Work(), Work(), Work())
    world.others = lambda name, now: 3.0
    world.pass_time(600)
    assert len(world.begun) == jobs_only
    assert world.roles()["b"] == ("takes" if jobs_only else "gives")


def test_drained_silent_and_busy_nodes_neither_give_nor_take(
    three: tuple[Crowd, list[int]],
) -> None:
    world, jobs = three
    world.set_state("b", "drain")
    world.pass_time(600)
    assert (world.begun, world.roles()) == ([], {"a": "gives", "b": "drained"})
    world.set_state("b", "resume")
    world.set_state("a", "drain", "fan")
    world.pass_time(600)
    assert (world.begun, world.roles()) == ([], {"a": "drained", "b": "takes"})
    world.set_state("a", "resume")
    world.migrate(jobs[0], "b")  # somebody does it by hand
    world.pass_time(600)
    assert (world.begun, world.places()) == ([], {"a": 2, "b": 1})
    world.silent(40)
    assert set(world.roles().values()) == {"down"}


def test_users_see_their_own_jobs_alone(three: tuple[Crowd, list[int]]) -> None:
    world, _ = three
    world.pass_time(200)
    assert [each["job"] for each in world.told("bob")["decisions"]] == [None, None]
    assert any(each["job"] for each in world.told("alice")["decisions"])
    assert "job" not in str([each["message"] for each in world.told("bob")["decisions"]])


def test_what_is_remembered_is_bounded_and_goes_with_the_jobs(
    three: tuple[Crowd, list[int]],
) -> None:
    world, jobs = three
    world.pass_time(200)
    watch = world.memory.watch
    assert len(watch.tasks) == 3
    for each in jobs:
        world.kill(each)
    world.pass_time(60)
    assert (watch.tasks, watch.rests, watch.known) == ({}, {}, {})
    assert len(watch.told) <= TOLD
    assert not any(under_way(job) for job in world.memory.jobs.values())


def test_a_node_that_just_got_jobs_does_not_take() -> None:
    """Whatever its smoothed pressure is yet."""
    world = Crowd("a", "b", cpus=4, marks=MARKS)
    world.crowd("a", *[Work() for _ in range(6)])
    world.pass_time(65)
    world.crowd("b", *[Work() for _ in range(3)])
    world.pass_time(5)
    assert (world.begun, world.roles()) == ([], {"a": "gives", "b": "neither"})
    assert world.told()["why"].startswith("a would give, and no node has stood below 0.7")
