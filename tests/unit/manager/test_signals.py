"""Signals to jobs: who may be reached, what is refused, and what is remembered until when."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.errors import Conflict, InvalidRequest, NotFound
from kcms.jobs.model import ABILITIES, SIGNALS, Exit, TaskReport
from kcms.jobs.processes import Process
from kcms.jobs.signals import NAMES, Signal, signal_name
from kcms.jobs.states import State
from kcms.jobs.target import parse
from kcms.manager import core, holding, signals
from kcms.manager.memory import Draft
from kcms.manager.signals import Asked, asked
from tests.unit.manager.world import ALICE, World, ended, said, said_running

SHELL = Process(47, 9, "sh", 1, 0, 1, "")


def running(*processes: Process) -> World:
    """Job 1 of alice runs on a, whose node said so."""
    world = World("a", "b")
    world.submit()
    world.report("a", said_running(), processes=processes)
    return world


def signal(world: World, name: str = "USR1", number: int = 1, key: str = "", **more: Any) -> Any:
    world.made = getattr(world, "made", 0) + 1  # type: ignore[attr-defined]
    key = key or f"k{world.made}"  # type: ignore[attr-defined]

    def decide(draft: Draft) -> Any:
        job = world.job(number)
        return signals.ask(draft, job, Asked(name, key, **more), "alice", world.now)

    return world.do(decide)


def wanted(world: World, name: str = "a") -> list[Signal]:
    from kcms.manager.wanted import wanted_tasks

    return [each for task in wanted_tasks(world.memory, name) for each in task.signals]


def dealt(world: World, upto: int, **more: Any) -> None:
    world.report("a", replace(said_running(), signalled=upto), **more)


def test_a_signal_is_wanted_until_its_node_has_dealt_with_it() -> None:
    world = running()
    signal(world)
    signal(world, "HUP")
    assert wanted(world) == [Signal(1, "USR1"), Signal(2, "HUP")]
    dealt(world, 1)
    assert wanted(world) == [Signal(2, "HUP")]
    dealt(world, 2)
    assert wanted(world) == []
    signal(world, "TERM")
    assert wanted(world) == [Signal(3, "TERM")]
    assert world.kinds.count("signal") == 3


def test_the_same_request_again_signals_once() -> None:
    world = running()
    signal(world, key="k")
    signal(world, key="k")
    assert len(wanted(world)) == 1
    dealt(world, 1)
    signal(world, key="k")
    assert wanted(world) == []


def test_what_is_remembered_is_bounded() -> None:
    world = running()
    for number in range(1, 41):
        signal(world)
        dealt(world, number)
    (rows,) = world.memory.signals.values()
    assert [each.signal.number for each in rows] == list(range(41 - signals.KEPT, 41))
    for _ in range(signals.MOST_WAITING):
        signal(world)
    with pytest.raises(Conflict, match="16 signals are on their way to a already"):
        signal(world)


def test_a_process_is_named_by_pid_and_birth() -> None:
    world = running(SHELL)
    signal(world, node="a", pid=47)
    signal(world, "TERM", node="a", pid=47, task=0, kill=True)
    assert wanted(world) == [
        Signal(1, "USR1", 47, 9),
        Signal(2, "TERM", 47, 9, grace=5.0),
    ]


@pytest.mark.parametrize(
    ("more", "said_of"),
    [
        ({"node": "a", "pid": 48}, "job 1 has no process 48 on 'a'"),
        ({"node": "b", "pid": 47}, "job 1 has no process 47 on 'b'"),
        ({"node": "a", "pid": 47, "task": 1}, "task 1 of job 1 has no process 47 on 'a'"),
        ({"task": 3}, "job 1 has the tasks 0 to 0, and no task 3"),
    ],
)
def test_what_the_job_does_not_have(more: dict[str, Any], said_of: str) -> None:
    world = running(SHELL)
    with pytest.raises(NotFound, match=said_of):
        signal(world, **more)
    assert world.memory.signals == {}


def test_the_process_of_another_job_is_none_of_this() -> None:
    world = running(SHELL)
    world.submit()
    world.report("b", said("running", job=2, start_time=1001.0))
    with pytest.raises(NotFound, match="job 2 has no process 47"):
        signal(world, number=2, node="a", pid=47)


def test_jobs_that_do_not_run() -> None:
    world = World("a", slots=1)
    world.submit()
    world.submit()
    with pytest.raises(Conflict, match="job 2 is PENDING: only a job that runs can be signalled"):
        signal(world, number=2)
    with pytest.raises(Conflict, match="still being started on a: try again then"):
        signal(world)
    world.report("a", said_running())
    world.kill(1)
    with pytest.raises(Conflict, match="is being killed by alice"):
        signal(world)
    world.report("a", ended(None, 15))
    with pytest.raises(Conflict, match="is CANCELLED"):
        signal(world)


def test_a_suspended_job_gets_it_too() -> None:
    world = running()
    world.act(holding.suspend, 1)
    assert world.job(1).state is State.SUSPENDED
    signal(world)
    assert wanted(world) == [Signal(1, "USR1")]


def test_a_job_that_moves_is_not_signalled_and_one_that_is_signalled_does_not_move() -> None:
    world = running()
    signal(world)
    with pytest.raises(Conflict, match="a signal is on its way to job 1: try again then"):
        world.migrate(1, "b")
    dealt(world, 1)
    world.migrate(1, "b")
    with pytest.raises(Conflict, match="is being moved from a to b: try again then"):
        signal(world)


def test_a_node_that_cannot_or_is_not_heard() -> None:
    world = running()
    world.silent(31)
    with pytest.raises(Conflict, match="runs on a, which is not heard"):
        signal(world)
    old = tuple(each for each in ABILITIES if each != SIGNALS)
    world.report("a", said_running(), abilities=old)
    with pytest.raises(Conflict, match="on a, whose release cannot send signals"):
        signal(world)


def test_only_the_node_of_the_task_can_say_that_it_is_done() -> None:
    world = running()
    signal(world)
    world.report("b", replace(said_running(), signalled=1))
    world.report("a", replace(said_running(epoch=2), signalled=1))
    world.report("a", replace(said_running(), signalled=1, store="aaaaaaaa"), said_running())
    assert len(wanted(world)) == 1


def test_the_end_of_a_task_is_that_of_its_signals() -> None:
    world = running()
    signal(world)
    world.report("a", ended(0))
    assert world.memory.signals == {}


def test_a_store_that_went_back_in_time_gives_no_number_again() -> None:
    world = running()
    dealt(world, 7)
    signal(world)
    assert wanted(world) == [Signal(8, "USR1")]


def test_a_killed_job_is_sent_nothing_more() -> None:
    world = running()
    signal(world)
    world.kill(1)
    world.report("a", said_running())
    assert [each.signal.number for rows in world.memory.signals.values() for each in rows] == [1]
    assert wanted(world) == []


# jobs of several tasks ----------------------------------------------------------------------------


def several(kind: str) -> World:
    """Job 1 of four tasks, two of them on each of a and b."""
    world = World("a", "b", slots=2)
    world.submit(**{"class": kind, "total_tasks": 4})
    places: dict[str, set[int]] = {"a": set(), "b": set()}
    for task in world.job(1).tasks:
        places[task.node].add(task.unit)
    for name, units in places.items():
        world.report(name, *(TaskReport(1, each, 1, "running", 1001.0) for each in sorted(units)))
    return world


def by_unit(world: World) -> dict[int, list[Signal]]:
    from kcms.manager.wanted import wanted_tasks

    found = (each for name in "ab" for each in wanted_tasks(world.memory, name))
    return {each.task: list(each.signals) for each in found if each.signals}


def test_a_batch_job_gets_it_in_every_task_and_a_task_alone() -> None:
    world = several("batch")
    signal(world)
    assert by_unit(world) == {task: [Signal(1, "USR1")] for task in range(4)}
    signal(world, "HUP", task=2)
    assert by_unit(world)[2] == [Signal(1, "USR1"), Signal(2, "HUP")]
    with pytest.raises(NotFound, match="job 1 has the tasks 0 to 3, and no task 4"):
        signal(world, task=4)


def test_a_rank_of_a_parallel_job_gets_it_alone_or_all_do() -> None:
    world = several("parallel")
    signal(world)
    assert by_unit(world) == {0: [Signal(1, "USR1")], 2: [Signal(1, "USR1")]}
    signal(world, "HUP", task=3)
    assert by_unit(world)[2] == [Signal(1, "USR1"), Signal(2, "HUP", rank=3)]
    assert len(by_unit(world)[0]) == 1


def test_the_process_of_a_rank_is_named_by_it() -> None:
    world = several("parallel")
    unit = TaskReport(1, 2, 1, "running", 1001.0)
    world.report("b", unit, processes=(Process(47, 9, "x", 1, 2, 1, "", rank=3),))
    rows, _ = world.memory.processes.documents(None, None, 10, world.now)
    assert [(row["id"], row["task"]) for row in rows] == [("1.3.47@b", 3)]
    with pytest.raises(NotFound, match="task 2 of job 1 has no process 47"):
        signal(world, task=2, node="b", pid=47)
    signal(world, task=3, node="b", pid=47)
    assert by_unit(world) == {2: [Signal(1, "USR1", 47, 9)]}


def test_a_task_that_waits_is_over_or_is_being_killed_gets_none() -> None:
    world = World("a", slots=2)
    world.submit(**{"class": "batch", "total_tasks": 3})
    world.report("a", TaskReport(1, 0, 1, "running", 1001.0))
    signal(world)
    for task, message in ((1, "task 1 of job 1 is still being started"), (2, "does not run")):
        with pytest.raises(Conflict, match=message):
            signal(world, task=task)
    world.do(lambda draft: core.kill_task(draft, ALICE, world.job(1), 0, world.now))
    with pytest.raises(Conflict, match="task 0 of job 1 does not run"):
        signal(world, task=0)
    world.report("a", TaskReport(1, 0, 1, "running", 1001.0))
    assert by_unit(world) == {}


def test_the_end_of_one_task_leaves_the_signals_of_the_others() -> None:
    world = several("batch")
    signal(world)
    (node,) = {task.node for task in world.job(1).tasks if task.index == 0}
    ends = TaskReport(1, 0, 1, "ended", 1001.0, Exit(0, None, 1002.0))
    others = [each.index for each in world.job(1).tasks if each.node == node and each.index]
    world.report(node, ends, *(TaskReport(1, each, 1, "running", 1001.0) for each in others))
    assert sorted(by_unit(world)) == [1, 2, 3]
    assert sorted(key[1] for key in world.memory.signals) == [1, 2, 3]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "None is no signal; there are HUP"),
        ({"signal": 10}, "10 is no signal"),
        ({"signal": "USR3"}, "'USR3' is no signal"),
        ({"signal": "HUP", "task": "0"}, "task must be the number of a task, or null"),
        ({"signal": "HUP", "task": -1}, "task must be the number"),
        ({"signal": "HUP", "task": True}, "task must be the number"),
        ({"signal": "HUP", "kill": 1}, "kill must be true or false"),
        ({"signal": "HUP", "kill": True}, "kill goes with a process"),
        ({"signal": "HUP", "process": 47}, "process must have a node"),
        ({"signal": "HUP", "process": {"pid": 47}}, "process must have a node"),
        ({"signal": "HUP", "process": {"pid": 4.5, "node": "a"}}, "process must have a node"),
        ({"signal": "HUP", "process": {"pid": 4, "node": "a", "x": 1}}, "process must have a node"),
    ],
)
def test_what_cannot_be_meant(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        asked(body, "k")


def test_what_can_be_meant() -> None:
    assert asked({"signal": "sigusr1", "task": 3}, "k") == Asked("USR1", "k", 3)
    body = {"signal": "TERM", "process": {"node": "a", "pid": 47}, "kill": True, "task": None}
    assert asked(body, "k") == Asked("TERM", "k", None, "a", 47, True)


def test_names() -> None:
    import signal as system

    known = {
        each.name.removeprefix("SIG") for each in system.valid_signals() if hasattr(each, "name")
    }
    assert known - {"RTMIN", "RTMAX"} == set(NAMES)
    assert [signal_name(each) for each in ("usr1", "SIGUSR1", "SIGSIGUSR1", "", "SIG")] == [
        *("USR1", "USR1", None, None, None),
    ]


@pytest.mark.parametrize(
    ("text", "found", "said_of"),
    [
        ("12", (12, None, None, None), "job 12"),
        ("12.3", (12, 3, None, None), "task 3 of job 12"),
        ("12.0.47@a-2.example", (12, 0, 47, "a-2.example"), "process 12.0.47@a-2.example"),
    ],
)
def test_targets(text: str, found: tuple[Any, ...], said_of: str) -> None:
    target = parse(text)
    assert (target.job, target.task, target.pid, target.node) == found
    assert str(target) == said_of


@pytest.mark.parametrize(
    "text", ["", "x", "12.", "12.0.", "12.0.47", "12.0.47@", "12@a", "12.0.47@a b", "١٢", "12\n"]
)
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no job as 12, no task as 12\.3"):
        parse(text)


def test_root_sees_all_and_bob_his_own() -> None:
    from tests.unit.manager.world import BOB, ROOT

    world = running()
    with pytest.raises(NotFound, match="no job 1 that bob may see"):
        core.check_sees(BOB, world.job(1), 1)
    assert core.check_sees(ROOT, world.job(1), 1).id == 1


def test_all_tasks_get_it_or_none_does() -> None:
    """What else the manager decides at the same moment is kept, so nothing may be left of it."""
    world = several("batch")
    quiet = world.job(1).tasks[-1].node
    world.memory.nodes[quiet] = replace(world.memory.nodes[quiet], silence=1e6)

    def decide(draft: Draft) -> str:
        with pytest.raises(Conflict) as refused:
            signals.ask(draft, world.job(1), Asked("USR1", "k"), "alice", world.now)
        return str(refused.value)

    assert "not heard" in world.do(decide)
    assert world.memory.signals == {}
