"""The process monitor's memory: what nodes say, what ended, and whose it is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from kcms.jobs.processes import MOST, Process
from kcms.manager import nodes
from kcms.manager.processes import Processes
from tests.unit.manager.world import (
    BOB,
    World,
    ended,
    moved,
    said,
    said_running,
)


def process(pid: int, name: str = "sh", **changes: Any) -> Process:
    return replace(Process(pid, 100 + pid, name, 1, 0, 1, ""), **changes)


def shown(world: World, user: str | None = None, node: str | None = None) -> list[Any]:
    rows, left_out = world.memory.processes.documents(user, node, 100, world.now)
    assert left_out == 0
    return [(row["node"], row["pid"], row["state"], row["ended"]) for row in rows]


def running(*processes: Process) -> World:
    """Job 1 of alice on a and job 2 of bob on b; these processes are on a."""
    world = World("a", "b")
    world.submit()
    world.submit(BOB)
    assert world.job(2).tasks[0].node == "b"
    world.report("a", said_running(), processes=processes)
    return world


def test_a_process_as_it_is_shown() -> None:
    measured = {
        "ppid": 5, "cpu_seconds": 1.5, "cpu_percent": 12.5, "rss_kib": 900, "threads": 2,
        "start_time": 990.5, "command": "sh -c x",
    }  # fmt: skip
    world = running(process(7, root=True, status="S", **measured))
    rows, _ = world.memory.processes.documents("alice", "a", 100, world.now)
    assert rows == [
        {
            "id": "1.0.7@a",
            "node": "a",
            "pid": 7,
            "name": "sh",
            "state": "R",
            "ended": None,
            "job": 1,
            "task": 0,
            "user": "alice",
            "root": True,
            "status": "S",
            **measured,
        }
    ]
    assert shown(world, "bob") == []
    assert shown(world, node="b") == shown(world, node="z") == []


def test_what_vanished_ended_and_is_dropped_after_its_time() -> None:
    world = running(process(7), process(8))
    world.now = 1010.0
    world.report("a", said_running(), processes=(process(8, "cat"),))
    assert shown(world) == [("a", 7, "T", 1010.0), ("a", 8, "R", None)]
    world.now = 1070.0
    world.report("a", said_running(), processes=(process(8),))
    assert shown(world) == [("a", 7, "T", 1010.0), ("a", 8, "R", None)]
    world.now = 1071.0
    assert shown(world) == [("a", 8, "R", None)]
    world.report("a", said_running(), processes=(process(8),))
    assert len(world.memory.processes._nodes["a"]) == 1


def test_a_number_that_is_used_again_is_another_process() -> None:
    world = running(process(7))
    world.now = 1010.0
    world.report("a", said_running(), processes=(process(7, birth=999),))
    assert sorted(shown(world), key=str) == [("a", 7, "R", None), ("a", 7, "T", 1010.0)]
    assert world.memory.processes.job_of("a", 7) == 1


def test_the_job_of_a_process_that_is_alive() -> None:
    world = running(process(7))
    job_of = world.memory.processes.job_of
    assert (job_of("a", 7), job_of("a", 8), job_of("b", 7)) == (1, None, None)
    world.report("a", said_running())
    assert job_of("a", 7) is None


def test_the_end_of_a_task_is_that_of_its_processes() -> None:
    world = running(process(7))
    world.now = 1010.0
    world.report("a", ended(0), processes=(process(7),))
    assert shown(world) == [("a", 7, "T", 1010.0)]


@pytest.mark.parametrize(
    "strange",
    [
        process(7, job=2),
        process(7, job=3),
        process(7, epoch=2),
        process(7, task=1),
        process(7, store="aaaaaaaa"),
    ],
)
def test_a_node_speaks_of_tasks_on_it_alone(strange: Process) -> None:
    assert shown(running(strange)) == []


def test_what_moved_away_ended_here_and_is_there() -> None:
    world = World("a", "b")
    world.submit()
    world.report("a", said_running(), processes=(process(7),))
    world.migrate(1, "b")
    world.report("a", said_running(), processes=(process(7),), moves=(moved("check"),))
    world.report("b", moves=(moved("admit", epoch=2),))
    world.report("a", said_running(), processes=(process(7),), moves=(moved("dump"),))
    there = process(9, epoch=2)
    world.report("b", said("running", epoch=2), processes=(there,))
    assert shown(world) == [("a", 7, "R", None)], "the copy is not the job before the commit"
    done = (moved("restore", epoch=2),)
    world.report("b", said("running", epoch=2), processes=(there,), moves=done)
    world.report("a", said_running(), processes=(process(7),))
    assert shown(world) == [("a", 7, "T", 1000.0), ("b", 9, "R", None)]


def test_on_a_silent_node_they_stay_until_its_jobs_are_given_up() -> None:
    world = running(process(7))
    world.silent(300)
    assert shown(world) == [("a", 7, "R", None)]
    world.silent(2)
    assert shown(world) == [("a", 7, "T", 1301.0)]
    nodes.follow_hosts(world.memory, {"b"}, world.now)
    assert shown(world) == []


def test_a_name_cannot_break_a_line() -> None:
    world = running(process(7, "a\nb\x1b[2J\u202e"))
    rows, _ = world.memory.processes.documents(None, None, 100, world.now)
    assert rows[0]["name"] == "a?b?[2J?"
    world = running(process(7, command="a\x1b[2J", status="\n"))
    rows, _ = world.memory.processes.documents(None, None, 100, world.now)
    assert (rows[0]["command"], rows[0]["status"]) == ("a?[2J", "?")


def test_those_of_one_job_alone() -> None:
    world = running(process(7))
    for job, found in ((1, 1), (2, 0)):
        rows, _ = world.memory.processes.documents(None, None, 100, world.now, job)
        assert len(rows) == found


def test_the_last_figures_of_what_ended_stay() -> None:
    world = running(process(7, status="R", cpu_seconds=5.0))
    world.report("a", said_running())
    rows, _ = world.memory.processes.documents(None, None, 100, world.now)
    assert (rows[0]["status"], rows[0]["cpu_seconds"]) == ("X", 5.0)


def test_how_many_a_node_can_have() -> None:
    watch = Processes(600.0)
    for turn in range(4):
        said = [(process(pid, birth=turn), "alice") for pid in range(MOST + 9)]
        watch.follow("a", said, 1000.0 + turn)
    rows, left_out = watch.documents(None, None, 10_000, 1004.0)
    assert (len(rows), left_out) == (2 * MOST, 0)
    assert {row["ended"] for row in rows} == {None, 1003.0}
    rows, left_out = watch.documents(None, None, MOST + 3, 1004.0)
    assert (len(rows), left_out) == (MOST + 3, MOST - 3)
    assert sum(row["state"] == "R" for row in rows) == MOST
    assert rows == sorted(rows, key=lambda row: row["pid"])
