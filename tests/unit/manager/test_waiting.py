"""Jobs that are kept back: held, to begin later, and following others."""

from __future__ import annotations

import pytest

from kcms.errors import Conflict, Forbidden, InvalidRequest, NotFound
from kcms.jobs.states import State
from kcms.manager import core
from tests.unit.manager.world import ALICE, BOB, ROOT, World, ended, said, said_running


def state_of(world: World, number: int) -> tuple[State, str]:
    job = world.job(number)
    return job.state, job.reason


def test_a_held_job_lets_the_others_pass_until_it_is_released() -> None:
    world = World("a", slots=1)
    first = world.submit(hold=True, priority=9)
    second = world.submit()
    assert state_of(world, first) == (State.PENDING, "held by alice")
    assert world.job(second).state is State.RUNNING
    world.report("a", said("ended", second, exit=ended(0).exit))
    assert world.hold(first, release=True).held_by is None
    assert world.job(first).state is State.RUNNING


def test_only_what_waits_is_held_and_twice_changes_nothing() -> None:
    world = World("a", slots=1)
    runs, waits = world.submit(), world.submit()
    with pytest.raises(Conflict, match="job 1 is RUNNING: only a job that waits can be held"):
        world.hold(runs)
    assert world.hold(runs, release=True).state is State.RUNNING
    kinds = len(world.kinds)
    for _ in range(2):
        assert world.hold(waits).held_by == "alice"
    assert world.kinds[kinds:].count("hold") == 1
    world.kill(waits)
    with pytest.raises(Conflict, match="job 2 is CANCELLED"):
        world.hold(waits)


def test_what_root_holds_only_root_releases() -> None:
    world = World()
    number = world.submit()
    world.hold(number)
    assert world.hold(number, ROOT).held_by == "root"
    assert world.hold(number).held_by == "root"
    with pytest.raises(Forbidden, match="job 1 is held by root, who alone may release it"):
        world.hold(number, release=True)
    with pytest.raises(NotFound):
        world.hold(number, BOB, release=True)
    assert world.hold(number, ROOT, release=True).held_by is None


def test_root_releases_what_its_owner_holds() -> None:
    world = World()
    number = world.submit(hold=True)
    assert world.hold(number, ROOT, release=True).held_by is None


def test_a_job_begins_when_its_time_has_come() -> None:
    world = World("a")
    number = world.submit(begin_time=int(world.now) + 3)
    assert state_of(world, number) == (State.PENDING, "begins at 1970-01-01 00:16:43 UTC")
    world.silent(2)
    assert world.job(number).state is State.PENDING
    world.silent(1)
    assert world.job(number).state is State.RUNNING


def test_a_chain_goes_on_when_all_is_well() -> None:
    world = World("a")
    first = world.submit()
    second = world.submit(dependency=[f"afterok:{first}"])
    third = world.submit(dependency=[f"after:{second}"])
    assert state_of(world, second) == (State.PENDING, "waits for job 1 (afterok)")
    world.report("a", said_running())
    assert world.job(second).state is State.PENDING
    world.report("a", ended(0))
    assert world.job(second).state is State.RUNNING
    assert world.job(third).state is State.PENDING
    world.report("a", said("running", second, start_time=1001.0))
    assert world.job(third).state is State.RUNNING


def test_a_chain_that_breaks_ends_whole_in_one_round() -> None:
    world = World("a")
    first = world.submit()
    second = world.submit(dependency=[f"afterok:{first}"], priority=-5)
    third = world.submit(dependency=[f"afterok:{second}"], priority=5)
    clears = world.submit(dependency=[f"afternotok:{first}"])
    world.report("a", ended(3))
    reason = "job 1, which it was to follow (afterok), ended as FAILED"
    assert state_of(world, second) == (State.CANCELLED, reason)
    assert state_of(world, third)[0] is State.CANCELLED
    assert (
        "job 2, which it was to follow (afterok), ended as CANCELLED" in state_of(world, third)[1]
    )
    assert world.job(clears).state is State.RUNNING


def test_one_follows_what_is_over_already() -> None:
    world = World("a")
    first = world.submit()
    world.report("a", ended(0))
    assert world.job(world.submit(dependency=[f"afterok:{first}"])).state is State.RUNNING
    never = world.submit(dependency=[f"afternotok:{first}"])
    assert world.job(never).state is State.CANCELLED


def test_what_is_known_of_the_followed_is_kept_while_they_are_waited_for() -> None:
    world = World("a", slots=1)
    first = world.submit()
    second = world.submit(dependency=[f"afterany:{first}"], hold=True)
    with pytest.raises(InvalidRequest, match="there is no job 3 that alice may see"):
        world.submit(dependency=["afterok:3"])
    third = world.submit(hold=True)
    fourth = world.submit(dependency=[f"afterany:{third}"], hold=True)
    assert world.memory.followers == {first: {second}, third: {fourth}}
    world.report("a", ended(0))
    assert world.memory.followed[first].state is State.COMPLETED
    assert world.job(second).reason == "held by alice"
    world.kill(third)
    assert world.job(fourth).reason == "held by alice"
    world.kill(second)
    world.kill(fourth)
    assert (world.memory.followers, world.memory.followed) == ({}, {})


@pytest.mark.parametrize("caller", [ALICE, BOB])
def test_nobody_follows_what_they_may_not_see(caller: core.Caller) -> None:
    world = World("a")
    world.submit(ROOT if caller is ALICE else ALICE)
    with pytest.raises(
        InvalidRequest, match=f"dependency afterok:1: there is no job 1 that {caller.user}"
    ):
        world.submit(caller, dependency=["afterok:1"])
    with pytest.raises(InvalidRequest, match="dependency after:9: there is no job 9"):
        world.submit(caller, dependency=["after:9"])
    assert world.memory.last_job == 1
