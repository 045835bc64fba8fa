"""What the manager makes of its nodes: silent ones, drained ones, and how they are shown."""

from __future__ import annotations

import pytest

from kcms.errors import InvalidRequest, NotFound
from kcms.jobs.model import Exit, NodeReport
from kcms.jobs.states import State
from kcms.manager import core, nodes, scheduling
from kcms.manager.memory import Draft
from tests.unit.manager.world import MOVER, World, ended, said, said_running

# nodes that fall silent --------------------------------------------------------------------------


def test_a_silent_node_is_down_and_takes_nothing_and_its_jobs_wait_for_it() -> None:
    world = World("a")
    number = world.submit()
    world.report("a", said("running", start_time=1001.0))
    world.silent(30)
    assert world.up() == {"a": "UP"}
    world.silent(1)
    assert world.up() == {"a": "DOWN"}
    assert (world.job(number).state, world.job(number).reason) == (
        State.RUNNING,
        "a is not heard; it may still run there",
    )
    assert world.job(world.submit()).reason == "no node is up"
    world.report("a", said("running", start_time=1001.0))
    assert (world.up(), world.job(number).reason) == ({"a": "UP"}, "")
    assert world.kinds.count("silence") == 1


def test_a_lost_node_ends_its_jobs_and_never_starts_them_again() -> None:
    world = World("a")
    number = world.submit()
    world.silent(300)
    assert world.job(number).state is State.RUNNING
    world.silent(1)
    assert world.job(number).state is State.NODE_FAIL
    assert world.job(number).reason == "a was not heard for 300 s"
    assert world.wanted("a") == []


def test_silence_is_counted_only_while_the_manager_listens() -> None:
    world = World("a")
    number = world.submit()
    world.now += 86400.0  # the machine slept, or its clock was set
    world.do(lambda draft: core.tick(draft, world.now, 1.0))
    assert (world.up(), world.job(number).state) == ({"a": "UP"}, State.RUNNING)


def test_after_a_restart_nodes_have_their_time_to_report() -> None:
    before = World("a")
    number = before.submit()
    world = World()
    world.memory.adopt(before.job(number))
    nodes.follow_hosts(world.memory, {"a"}, world.now)
    world.silent(300)
    assert world.job(number).state is State.RUNNING
    world.report("a", said("running", start_time=1001.0))
    assert world.job(number).reason == ""


def test_a_node_taken_off_the_list_keeps_its_jobs_until_it_is_lost() -> None:
    world = World("a", "b", slots=1)
    number = world.submit()
    gone = world.job(number).tasks[0].node
    nodes.follow_hosts(world.memory, {"a", "b"} - {gone}, world.now)
    assert world.up()[gone] == "DOWN"
    world.silent(1)
    assert world.job(number).state is State.RUNNING
    world.silent(300)
    assert world.job(number).state is State.NODE_FAIL
    nodes.follow_hosts(world.memory, {"a", "b"} - {gone}, world.now)
    assert set(world.up()) == {"a", "b"} - {gone}


def test_a_list_without_anybody_ends_no_job_before_its_time() -> None:
    before = World("a")
    number = before.submit()
    world = World()
    world.memory.adopt(before.job(number))
    nodes.follow_hosts(world.memory, set(), world.now)
    world.silent(300)
    assert world.job(number).state is State.RUNNING
    world.silent(1)
    assert world.job(number).state is State.NODE_FAIL


# what is shown -----------------------------------------------------------------------------------


def test_a_round_in_which_nothing_moved_places_nothing_and_concerns_nobody() -> None:
    world = World("a", slots=1)
    world.submit()
    world.submit()
    draft = Draft(world.memory)
    said = NodeReport("boot", "1", 1, {"load_one": 9.0}, (said_running(),))
    core.report(draft, "a", said, world.now)
    assert draft.merge() == {"a"}
    draft = Draft(world.memory)
    core.report(draft, "a", said, world.now)
    scheduling.settle(draft, world.now)
    assert (draft.changed, draft.capacity, draft.merge()) == ({}, False, frozenset())


def test_more_slots_are_used_at_once() -> None:
    world = World("a", slots=1)
    world.submit()
    waiting = world.submit()
    world.slots = 2
    world.report("a", said_running())
    assert world.job(waiting).state is State.RUNNING


def test_the_nodes_as_they_are_shown() -> None:
    world = World("b", "a")
    world.submit()
    world.silent(3)
    rows = nodes.documents(world.memory)
    assert [row["name"] for row in rows] == ["a", "b"]
    assert rows[0] == {
        "name": "a",
        "state": "UP",
        "availability": "mixed",
        "drained": False,
        "drain_reason": "",
        "leaving": False,
        "mover": MOVER,
        "slots": 2,
        "used": 1,
        "heard": 1000.0,
        "release": "1",
        "load": {"load_one": 0.0, "cpu_num": 2},
    }


# drained nodes -----------------------------------------------------------------------------------


def test_a_drained_node_gets_nothing_new_and_its_jobs_go_on() -> None:
    world = World("a", "b")
    assert world.submit() == 1
    world.set_state("a", "drain", "new disk")
    assert [world.job(world.submit()).tasks[0].node for _ in range(2)] == ["b", "b"]
    assert world.wanted("a") == [(1, 0, 1, "run")]
    waits = world.submit()
    assert world.job(waits).reason == "every slot is taken, and some nodes are drained"
    world.set_state("b", "drain")
    assert world.job(waits).reason == "every node that is up is drained"
    world.set_state("a", "resume")
    assert world.job(waits).tasks[0].node == "a"
    assert [kind for kind in world.kinds if kind in ("drain", "resume")] == [
        "drain",
        "drain",
        "resume",
    ]


def test_the_same_state_again_changes_nothing() -> None:
    world = World("a")
    for _ in range(2):
        world.set_state("a", "resume")
    for reason in ("x", "x", "y"):
        world.set_state("a", "drain", reason)
    assert world.kinds == ["drain", "drain"]
    assert world.memory.drained["a"].reason == "y"


def test_it_stays_drained_while_it_is_off_the_list() -> None:
    world = World("a", "b")
    world.set_state("a", "drain", "lent out")
    nodes.follow_hosts(world.memory, {"b"}, world.now)
    assert set(world.up()) == {"b"}
    assert nodes.document(world.memory, "a")["drained"] is True
    nodes.follow_hosts(world.memory, {"a", "b"}, world.now)
    world.report("a")
    assert (world.row("a")["availability"], world.row("a")["drain_reason"]) == (
        "drained",
        "lent out",
    )
    nodes.follow_hosts(world.memory, {"b"}, world.now)
    world.set_state("a", "resume")
    assert world.memory.drained == {}
    with pytest.raises(NotFound, match="there is no node 'a' in cluster alpha"):
        world.set_state("a", "resume")


@pytest.mark.parametrize(
    ("state", "reason"), [("DRAIN", ""), ("", ""), ("drain", "a\nb"), ("drain", "x" * 201)]
)
def test_a_state_that_is_none(state: str, reason: str) -> None:
    world = World("a")
    with pytest.raises(InvalidRequest):
        world.set_state("a", state, reason)
    assert world.memory.drained == {}


def test_how_far_a_node_can_be_used() -> None:
    world = World("a")
    words = [world.row("a")["availability"]]
    for _ in range(2):
        world.submit()
        words.append(world.row("a")["availability"])
    world.set_state("a", "drain")
    words.append(world.row("a")["availability"])
    world.report("a", ended(), said("ended", job=2, exit=Exit(0, None, 2.0)))
    words.append(world.row("a")["availability"])
    world.silent(31)
    words.append(world.row("a")["availability"])
    assert words == ["idle", "mixed", "allocated", "draining", "drained", "down"]
    assert world.row("a")["drained"] is True
