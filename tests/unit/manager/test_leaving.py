"""Nodes that are to be empty: what goes where, what waits, what stays, how often it is asked."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.errors import InvalidRequest, NotFound
from kcms.jobs.migration import MoveReport
from kcms.jobs.model import TaskReport
from kcms.jobs.states import State
from kcms.manager import core, holding, leaving, nodes
from kcms.manager.memory import under_way
from kcms.manager.wanted import wanted_moves, wanted_tasks
from tests.unit.manager.world import ALICE, BOB, MOVER, ROOT, World

Refusals = dict[tuple[str, str, int], str]
"""By node, step and job: what it says."""


class Cluster(World):
    """A world whose nodes do at once what is wanted of them, as far as they do not refuse."""

    def __init__(self, *names: str, slots: int = 2) -> None:
        super().__init__(*names, slots=slots)
        self.names = names
        self.refuses: Refusals = {}
        self.slots_of: dict[str, int] = {}
        self.mover_of: dict[str, dict[str, str]] = {}

    def exchange(self, times: int = 1) -> None:
        for name in self.names * times:
            tasks = {
                (each.job, each.task, each.epoch): TaskReport(
                    each.job, each.task, each.epoch, "running", start_time=1001.0
                )
                for each in wanted_tasks(self.memory, name)
                if each.want != "kill"
            }
            moves = []
            for move in wanted_moves(self.memory, name):
                key = (move.job, move.task, move.epoch)
                message = self.refuses.get((name, move.step, move.job), "")
                if move.step == "restore" and not message:
                    tasks[key] = TaskReport(*key, "running", start_time=1001.0)
                moves.append(MoveReport(*key, "", move.number, move.step, not message, message))
            self.report(
                name,
                *tasks.values(),
                moves=tuple(moves),
                slots=self.slots_of.get(name, self.slots),
                mover=self.mover_of.get(name, MOVER),
            )

    def pass_time(self, seconds: int) -> None:
        """Every node is heard meanwhile."""
        for _ in range(seconds):
            self.now += 1
            self.do(functools.partial(self._tick))
            self.exchange()

    def _tick(self, draft: Any) -> None:
        core.tick(draft, self.now, 1.0)
        leaving.tick(draft, 1.0)

    def filled(self, name: str, count: int, **fields: Any) -> list[int]:
        """Jobs of alice's that run on one node, while the others take nothing."""
        others = [each for each in self.names if each != name]
        for each in others:
            self.set_state(each, "drain")
        jobs = [self.submit(**fields) for _ in range(count)]
        self.exchange()
        for each in others:
            self.set_state(each, "resume")
        assert {self.node_of(each) for each in jobs} == {name}
        return jobs

    def node_of(self, number: int, index: int = 0) -> str:
        task = self.job(number).task(index)
        assert task is not None
        return task.node

    def empty(self, name: str) -> None:
        self.set_state(name, "drain", "fan", migrate=True)

    def told(self, name: str, user: str | None = None) -> dict[tuple[int, int], tuple[str, str]]:
        rows = leaving.document(self.memory, name, user)["tasks"]
        return {(row["job"], row["task"]): (row["state"], row["message"]) for row in rows}

    def under_way(self) -> list[tuple[int, str, str]]:
        moves = [(job, under_way(job)) for job in self.memory.jobs.values()]
        return [(job.id, move.source, move.target) for job, move in moves if move is not None]

    def numbers(self, job: int) -> int:
        """How often the job was asked to move."""
        migration = self.job(job).migration
        return migration.number if migration else 0


def test_all_go_a_few_at_a_time_each_to_the_best_node() -> None:
    world = Cluster("a", "b", "c", slots=4)
    first, second, third = world.filled("a", 3)
    world.empty("a")
    assert world.under_way() == [(first, "a", "b"), (second, "a", "c")]
    assert world.told("a") == {
        (first, 0): ("moving", "it moves to b: checking"),
        (second, 0): ("moving", "it moves to c: checking"),
        (third, 0): ("waiting", "it goes next"),
    }
    world.exchange(12)
    assert [world.node_of(each) for each in (first, second, third)] == ["b", "c", "b"]
    assert (world.told("a"), world.row("a")["availability"]) == ({}, "drained")
    by = {job.migration.by for job in world.memory.jobs.values() if job.migration}
    assert (by, world.memory.tried) == ({"root"}, {})


def test_what_cannot_leave_stays_with_its_reason_and_is_asked_ever_more_rarely() -> None:
    world = Cluster("a", "b", "c")
    (job,) = world.filled("a", 1)
    world.refuses["a", "check", job] = "process 7 (x) has a TCP connection"
    world.empty("a")
    world.exchange(2)
    (row,) = leaving.document(world.memory, "a", None)["tasks"]
    assert (row["state"], row["message"], row["again"], row["target"]) == (
        *("staying", "a: process 7 (x) has a TCP connection"),
        *(30.0, None),
    )
    asked = []
    for _ in range(36):
        world.pass_time(100)
        asked.append(world.numbers(job))
    assert asked[0] == 3  # 30 s and 60 s after the refusals before
    assert asked[-1] == 10  # then after 120, 240, 480 s, and every 600 s
    assert world.job(job).state is State.RUNNING
    del world.refuses["a", "check", job]
    world.pass_time(620)
    assert world.node_of(job) == "b"


def test_the_next_node_is_asked_at_once_when_one_refuses_and_in_the_end_there_is_a_pause() -> None:
    world = Cluster("a", "b", "c", "d", "e", "f")
    (job,) = world.filled("a", 1)
    for name in "bcdef":
        world.refuses[name, "admit", job] = "/usr/bin/x differs"
    world.empty("a")
    world.exchange(20)
    assert world.numbers(job) == leaving.REFUSING + 1
    assert world.told("a") == {(job, 0): ("staying", "e: /usr/bin/x differs")}
    world.pass_time(235)
    assert world.numbers(job) == leaving.REFUSING + 1
    del world.refuses["f", "admit", job]
    world.pass_time(20)
    assert world.node_of(job) == "f"


def test_a_node_that_refuses_alone_leaves_the_task_where_it_is_until_it_is_asked_again() -> None:
    world = Cluster("a", "b")
    (job,) = world.filled("a", 1)
    world.refuses["b", "restore", job] = "no memory"
    world.refuses["b", "admit", job] = "/usr/bin/x differs"
    world.empty("a")
    world.exchange(3)
    assert world.told("a") == {(job, 0): ("staying", "b: /usr/bin/x differs")}
    del world.refuses["b", "admit", job]
    world.pass_time(40)  # which now fails after the freeze: it is nobody's turn for a while
    assert world.told("a") == {(job, 0): ("staying", "b: no memory")}
    assert "" in world.memory.tried["a", job, 0].pauses
    world.refuses.clear()
    world.pass_time(90)
    assert world.node_of(job) == "b"


def test_who_leaves_goes_before_who_waits() -> None:
    world = Cluster("a", "b", slots=1)
    (mine,) = world.filled("a", 1)
    other = world.submit()
    world.exchange()
    waiting = [world.submit() for _ in range(3)]
    world.empty("a")
    full = "every slot is taken, and some nodes are drained"
    assert world.told("a") == {(mine, 0): ("waiting", full)}
    world.kill(other)
    world.exchange(5)
    assert world.node_of(mine) == "b"
    assert {world.job(each).state for each in waiting} == {State.PENDING}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"class": "parallel", "total_tasks": 2}, "has 2 tasks that run together"),
        ({"memory": 900}, "no node in use has 900 MiB of memory"),
        ({"cpus_per_task": 2}, "no node in use has 2 slots"),
    ],
)
def test_what_can_never_leave_is_told_why(fields: dict[str, Any], message: str) -> None:
    world = Cluster("a", "b")
    world.slots_of["b"] = 1
    load = {"load_one": 0.0, "cpu_num": 2.0, "mem_total": 1024.0 * 1024}
    world.report("a", load=load)
    world.set_state("b", "drain")
    job = world.submit(**fields)
    world.exchange()
    world.set_state("b", "resume")
    world.exchange()
    world.empty("a")
    state, told = world.told("a")[job, 0]
    assert (state, message in told) == ("staying", True), told
    assert world.numbers(job) == 0


def test_a_suspended_job_stays_until_it_goes_on() -> None:
    world = Cluster("a", "b")
    (job,) = world.filled("a", 1)
    world.act(holding.suspend, job)
    world.empty("a")
    world.exchange(2)
    assert world.told("a") == {
        (job, 0): ("staying", f"job {job} is SUSPENDED: only a job that runs can be moved")
    }
    world.act(holding.resume, job)
    world.exchange(6)
    assert world.node_of(job) == "b"


def test_nodes_that_cannot_take_a_job_are_passed_over_and_told_when_there_is_no_other() -> None:
    world = Cluster("a", "b", "c")
    (job,) = world.filled("a", 1)
    world.mover_of["b"] = {**MOVER, "machine": "aarch64"}
    world.mover_of["c"] = {**MOVER, "trouble": "criu is not there"}
    world.exchange()
    world.empty("a")
    assert world.told("a") == {(job, 0): ("staying", "a is of kind x86_64, b of kind aarch64")}
    del world.mover_of["c"]
    world.pass_time(6)
    assert world.node_of(job) == "c"


def test_tasks_of_a_batch_job_go_one_after_another() -> None:
    world = Cluster("a", "b", slots=3)
    (job,) = world.filled("a", 1, **{"class": "batch", "total_tasks": 3})
    world.empty("a")
    assert world.told("a")[job, 1] == ("waiting", "task 0 of its job moves first")
    world.exchange(15)
    assert [world.node_of(job, each) for each in range(3)] == ["b"] * 3


def test_a_task_that_cannot_leave_keeps_none_of_its_job_back() -> None:
    world = Cluster("a", "b", slots=3)
    (job,) = world.filled("a", 1, **{"class": "batch", "total_tasks": 2})
    (other,) = world.filled("a", 1)
    real = world.refuses

    class FirstOnly(dict[tuple[str, str, int], str]):
        def get(self, key: Any, default: Any = "") -> Any:
            moving = under_way(world.job(job))
            if key == ("a", "check", job) and moving and moving.task == 0:
                return "a lock"
            return real.get(key, default)

    world.refuses = FirstOnly()
    world.empty("a")
    world.exchange(15)
    assert [world.node_of(job, each) for each in range(2)] == ["a", "b"]
    assert world.node_of(other) == "b"
    assert world.told("a") == {(job, 0): ("staying", "a: a lock")}


def test_resuming_a_node_ends_it() -> None:
    world = Cluster("a", "b", slots=4)
    jobs = world.filled("a", 4)
    world.refuses["a", "check", jobs[0]] = "a lock"
    world.empty("a")
    world.exchange()
    assert world.memory.tried
    world.set_state("a", "resume")
    world.exchange(10)
    assert leaving.document(world.memory, "a", None) == {"node": "a", "leaving": False, "tasks": []}
    assert [world.node_of(each) for each in jobs].count("a") >= 2
    assert (world.memory.tried, world.under_way()) == ({}, [])


def test_after_a_restart_it_goes_on_and_what_was_refused_has_its_pause() -> None:
    before = Cluster("a", "b", slots=4)
    first, second = before.filled("a", 2)
    before.refuses["a", "check", first] = "a lock"
    before.empty("a")
    before.exchange(2)
    world = Cluster("a", "b", slots=4)
    for job in before.memory.jobs.values():
        world.memory.adopt(job)
    world.memory.last_job = before.memory.last_job
    world.memory.drained = dict(before.memory.drained)
    world.refuses = before.refuses
    world.pass_time(10)
    assert (world.node_of(second), world.numbers(first)) == ("b", 1)
    assert world.told("a") == {(first, 0): ("staying", "a: a lock")}


def test_what_was_refused_before_the_node_was_to_be_empty_is_no_reason_to_wait() -> None:
    world = Cluster("a", "b")
    (job,) = world.filled("a", 1)
    world.refuses["a", "check", job] = "a lock"
    world.migrate(job, "b")
    world.exchange()
    world.refuses.clear()
    world.now += 5
    world.empty("a")
    assert world.told("a")[job, 0][0] == "moving"


def test_what_a_user_asks_for_meanwhile_is_one_of_the_moves() -> None:
    world = Cluster("a", "b", "c", slots=4)
    jobs = world.filled("a", 3)
    world.migrate(jobs[2], "c")
    world.empty("a")
    assert len(world.under_way()) == leaving.AT_ONCE
    assert world.told("a")[jobs[2], 0] == ("moving", "it moves to c: checking")


def test_a_check_of_somebodys_is_waited_for() -> None:
    world = Cluster("a", "b")
    (job,) = world.filled("a", 1)
    world.migrate(job, "b", check=True)
    world.empty("a")
    assert world.told("a") == {(job, 0): ("waiting", "it is being checked for a move to b")}
    world.exchange(8)
    assert world.node_of(job) == "b"


def test_users_are_told_of_their_own() -> None:
    world = Cluster("a", "b", slots=4)
    world.filled("a", 1)
    world.set_state("b", "drain")
    bobs = world.submit(BOB)
    world.exchange()
    world.empty("a")
    assert world.told("a", BOB.user) == {(bobs, 0): ("staying", "every node that is up is drained")}
    assert len(world.told("a", ALICE.user)) == 1
    assert len(world.told("a")) == 2
    with pytest.raises(NotFound, match="there is no node 'z' in cluster alpha"):
        leaving.document(world.memory, "z", None)


def test_a_node_that_is_drained_alone_keeps_what_runs_there() -> None:
    world = Cluster("a", "b")
    (job,) = world.filled("a", 1)
    world.set_state("a", "drain", "fan")
    world.pass_time(5)
    assert (world.node_of(job), world.numbers(job)) == ("a", 0)


def test_draining_without_it_ends_it_and_it_goes_with_drain_only() -> None:
    world = Cluster("a", "b")
    world.empty("a")
    assert world.row("a")["leaving"] is True
    world.set_state("a", "drain", "fan")
    assert (world.row("a")["leaving"], world.row("a")["drained"]) == (False, True)
    with pytest.raises(InvalidRequest, match="migrate goes with drain"):
        world.do(
            lambda draft: nodes.set_state(draft, "a", "resume", "", ROOT.user, world.now, True)
        )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_nodes_refuse_few_move_at_once_and_nothing_is_asked_without_pause(
    data: st.DataObject,
) -> None:
    world = Cluster("a", "b", "c", slots=3)
    jobs = world.filled("a", 3)
    steps = st.sampled_from(["check", "admit", "dump", "restore"])
    for _ in range(data.draw(st.integers(0, 5))):
        key = (
            data.draw(st.sampled_from("abc")),
            data.draw(steps),
            data.draw(st.sampled_from(jobs)),
        )
        world.refuses[key] = "no"
    world.empty("a")
    for _ in range(60):
        world.pass_time(1)
        assert len(world.under_way()) <= leaving.AT_ONCE
    for job in jobs:
        assert world.job(job).state is State.RUNNING
        assert world.numbers(job) <= 2 + leaving.REFUSING
        assert world.node_of(job) != "a" or world.told("a")[job, 0][0] != "waiting"
