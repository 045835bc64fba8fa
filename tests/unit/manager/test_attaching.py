"""Interactive jobs as the manager sees them: whose, where, until when, and never moved."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kcms.errors import ConfigError, Conflict, Forbidden
from kcms.jobs.model import ABILITIES, ATTACH, HANGUP
from kcms.jobs.states import State
from kcms.manager import attaching, holding
from kcms.manager.core import Caller
from kcms.manager.hosts import parse
from kcms.manager.memory import Draft
from tests.unit.manager.world import ALICE, BOB, ROOT, World, ended, said_running

OLD = tuple(each for each in ABILITIES if each != ATTACH)


def wait(world: World, seconds: float) -> None:
    world.now += seconds
    world.do(lambda draft: attaching.tick(draft, world.now, seconds))


def test_only_its_owner_is_attached_and_to_an_interactive_job_alone() -> None:
    world = World("a")
    mine, plain = world.submit(interactive="pipes"), world.submit()
    attaching.check_attaches(ALICE, world.job(mine))
    for caller in (BOB, ROOT, Caller("alice", 2009, 2001, "alpha1")):
        with pytest.raises(Forbidden, match="only alice is attached to job 1"):
            attaching.check_attaches(caller, world.job(mine))
    with pytest.raises(Conflict, match="job 2 is not interactive"):
        attaching.check_attaches(ALICE, world.job(plain))


def test_it_has_a_place_once_it_is_placed() -> None:
    world = World("a", slots=1)
    first, second = world.submit(interactive="pipes"), world.submit(interactive="pipes")
    place = attaching.place_of(world.job(first))
    assert place is not None
    assert place.node == "a"
    assert attaching.place_of(world.job(second)) is None


def test_what_waits_and_nobody_asks_for_is_cancelled() -> None:
    world = World("a", slots=0)
    number, batch = world.submit(interactive="terminal"), world.submit()
    wait(world, 50)
    attaching.asked(world.memory, number)
    wait(world, 50)
    assert world.job(number).state is State.PENDING
    wait(world, 11)
    assert world.job(number).state is State.CANCELLED
    assert world.job(number).reason == ("nobody waited for it any more: kcms run on alpha1 is gone")
    assert world.job(batch).state is State.PENDING
    assert not world.memory.unasked


def test_what_has_a_place_is_its_nodes_to_end() -> None:
    world = World("a")
    number = world.submit(interactive="terminal")
    wait(world, 1000)
    assert world.job(number).state is State.RUNNING


def test_it_goes_only_where_people_can_be_attached() -> None:
    world = World("a")
    world.report("a", abilities=OLD)
    number, batch = world.submit(interactive="pipes"), world.submit()
    assert world.job(number).reason == "no node in use takes interactive jobs"
    assert world.job(batch).state is State.RUNNING
    world.report("a", abilities=ABILITIES)
    world.silent(1)
    assert world.job(number).state is State.RUNNING


def test_it_is_not_moved() -> None:
    world = World("a", "b")
    number = world.submit(interactive="pipes")
    node = world.job(number).tasks[0].node
    world.report(node, said_running())
    with pytest.raises(Conflict, match="is interactive: it stays where somebody is attached"):
        world.migrate(number, "b" if node == "a" else "a")


def test_it_is_not_begun_anew() -> None:
    world = World("a")
    number = world.submit(interactive="pipes")
    world.report("a", said_running())
    with pytest.raises(Conflict, match="is interactive: it begins once"):
        world.act(holding.requeue, number)


def test_one_that_nobody_is_attached_to_any_more_is_cancelled_and_says_so() -> None:
    world = World("a")
    number = world.submit(interactive="pipes")
    gone = ended(None, 15, cause=HANGUP, detail="it is gone")
    world.report("a", gone)
    assert (world.job(number).state, world.job(number).reason) == (State.CANCELLED, "it is gone")
    other = world.submit(interactive="pipes")
    world.kill(other)
    world.report("a", replace(gone, job=other))
    assert world.job(other).reason == "killed by alice"


def test_after_a_restart_the_waiting_ones_are_waited_for_anew() -> None:
    world = World("a", slots=0)
    number = world.submit(interactive="pipes")
    wait(world, 59)
    fresh = World("a", slots=0)
    fresh.memory.adopt(world.job(number))
    fresh.do(lambda draft: attaching.tick(draft, fresh.now, 2.0))
    assert fresh.job(number).state is State.PENDING
    assert Draft(fresh.memory).base.unasked == {number: 2.0}


def test_the_list_of_hosts_says_where_gateways_listen() -> None:
    rows = {
        "a": {"roles": ["node", "submit"], "address": "10.0.0.1", "gateway_port": 8659},
        "b": {"roles": ["node"], "address": "10.0.0.2"},
    }
    assert parse({"hosts": rows}).gateways == {"a": ("10.0.0.1", 8659)}
    for wrong in (
        {"roles": [], "gateway_port": 1},
        {"roles": [], "address": "x", "gateway_port": "y"},
    ):
        with pytest.raises(ConfigError):
            parse({"hosts": {"a": wrong}})
