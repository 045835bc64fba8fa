"""Random clusters, jobs and troubles: what has to hold whatever happens.

The nodes of this model do what a node daemon does: they run what is wanted once, end it when it is
not wanted, and tell.  They may go silent, and lose everything.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcms.errors import Conflict
from kcms.jobs.model import LEASE_OVER, Exit, TaskReport, WantedTask
from kcms.jobs.needs import cpus_of, memory_of
from kcms.manager import core, holding
from kcms.manager.wanted import wanted_tasks
from tests.unit.manager.world import ALICE, World

NODES = ("a", "b", "c")
SLOTS = 4
MEMORY = 1000  # MiB of each node
Key = tuple[int, int, int]


@dataclass
class Host:
    """A node as it is, whatever the manager believes."""

    alive: dict[Key, WantedTask] = field(default_factory=dict)
    over: dict[Key, TaskReport] = field(default_factory=dict)
    ever: set[Key] = field(default_factory=set)
    silent: bool = False


class Cluster:
    def __init__(self) -> None:
        self.world = World(*NODES, slots=SLOTS)
        self.world.memory.rules = replace(
            self.world.memory.rules, node_lost=60.0, lease=50.0, node_timeout=10.0
        )
        self.hosts = {name: Host() for name in NODES}
        self.heard = dict.fromkeys(NODES, self.world.now)
        self.starts: Counter[tuple[int, int, int]] = Counter()
        self.jobs: list[int] = []
        for name in NODES:
            self.talk(name)

    def talk(self, name: str) -> None:
        """A node acts on what is wanted, and tells."""
        host = self.hosts[name]
        if host.silent:
            return
        self.heard[name] = self.world.now
        for each in wanted_tasks(self.world.memory, name):
            key = (each.job, each.task, each.epoch)
            if each.want == "run" and key not in host.ever:
                host.ever.add(key)
                host.alive[key] = each
                for rank in each.ranks or (each.task,):
                    self.starts[(each.job, rank, each.epoch)] += 1
            elif each.want == "kill" and key in host.alive:
                self.end(name, key, signal=9)
            elif each.want == "kill" and key not in host.ever:
                host.ever.add(key)
                host.over[key] = TaskReport(*key, "refused", message="killed early")
        running = [TaskReport(*key, "running", start_time=1.0) for key in host.alive]
        load = {"load_one": 0.0, "cpu_num": 4.0, "mem_total": float(MEMORY * 1024)}
        forget = self.world.report(name, *running, *host.over.values(), load=load)
        for each in forget:
            host.over.pop(each, None)

    def end(
        self,
        name: str,
        key: Key,
        code: int | None = None,
        signal: int | None = None,
        cause: str = "",
    ) -> None:
        host = self.hosts[name]
        task = host.alive.pop(key)
        record = Exit(code, signal, self.world.now, cause=cause)
        ends = dict.fromkeys(task.ranks, record)
        host.over[key] = TaskReport(*key, "ended", start_time=1.0, exit=record, ends=ends)

    def pass_time(self, seconds: int) -> None:
        """Time, in which leases end; whoever is not silent tells now and then."""
        for at in range(seconds):
            self.world.silent(1)
            for name, host in self.hosts.items():
                if not host.silent and at % 5 == 0:
                    self.talk(name)
                for key, task in list(host.alive.items()):
                    if task.lease and self.world.now - self.heard[name] > task.lease:
                        self.end(name, key, signal=9, cause=LEASE_OVER)
            self.check()

    def check(self) -> None:
        memory = self.world.memory
        for name, host in self.hosts.items():
            here = [job for job, _ in memory.tasks_on(name)]
            assert sum(cpus_of(job) for job in here) <= SLOTS
            assert sum(memory_of(job) for job in here) <= MEMORY
            assert len(host.ever & host.alive.keys()) == len(host.alive)
        assert all(count == 1 for count in self.starts.values())
        copies: Counter[tuple[int, int]] = Counter()
        for host in self.hosts.values():
            for key, task in host.alive.items():
                copies.update((key[0], rank) for rank in task.ranks or (task.task,))
        for (number, _), count in copies.items():
            job = self.world.job(number)
            assert count == 1, f"{count} copies of a task of {job}"
        for job in memory.jobs.values():
            if job.job_class == "parallel" and job.tasks and not job.ending:
                placed = [task.open or task.state.final for task in job.tasks]
                assert len(set(placed)) == 1, "a parallel job is placed as a whole"


jobs = st.fixed_dictionaries(
    {
        "class": st.sampled_from(["single", "batch", "parallel"]),
        "cpus_per_task": st.integers(1, 3),
        "requeue": st.booleans(),
        "memory": st.sampled_from([None, 300, 700]),
        "priority": st.integers(0, 2),
    }
)
actions = st.one_of(
    st.tuples(st.just("submit"), jobs, st.integers(1, 5)),
    st.tuples(st.just("talk"), st.sampled_from(NODES)),
    st.tuples(st.just("end"), st.sampled_from(NODES), st.sampled_from([0, 0, 1, None])),
    st.tuples(st.just("kill"), st.integers(0, 20)),
    st.tuples(st.just("requeue"), st.integers(0, 20)),
    st.tuples(st.just("silence"), st.sampled_from(NODES)),
    st.tuples(st.just("heal"), st.sampled_from(NODES)),
    st.tuples(st.just("power"), st.sampled_from(NODES)),
    st.tuples(st.just("time"), st.sampled_from([1, 12, 70, 70])),
)


def act(cluster: Cluster, action: tuple[Any, ...]) -> None:
    kind, *rest = action
    if kind == "submit":
        spec, tasks = rest
        more = {} if spec["class"] == "single" else {"total_tasks": tasks}
        cluster.jobs.append(cluster.world.submit(**spec, **more))
    elif kind in ("kill", "requeue") and cluster.jobs:
        number = cluster.jobs[rest[0] % len(cluster.jobs)]
        try:
            cluster.world.act(core.kill if kind == "kill" else holding.requeue, number, ALICE)
        except Conflict:
            return
    elif kind == "time":
        cluster.pass_time(rest[0])
    elif kind in ("talk", "end", "silence", "heal", "power"):
        act_on(cluster, kind, *rest)


def act_on(cluster: Cluster, kind: str, name: str, code: int | None = 0) -> None:
    host = cluster.hosts[name]
    if kind == "talk":
        cluster.talk(name)
    elif kind == "end":
        for key in list(host.alive)[:1]:
            cluster.end(name, key, code, 11 if code is None else None)
    elif kind == "power":
        for key in list(host.alive):
            del host.alive[key]
            host.over[key] = TaskReport(*key, "lost", message="the node went down")
    else:
        host.silent = kind == "silence"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(jobs, st.integers(1, 5)), min_size=2, max_size=5),
    st.lists(actions, min_size=8, max_size=40),
)
def test_nothing_is_doubled_overcommitted_or_left(
    first: list[tuple[dict[str, Any], int]], steps: list[tuple[Any, ...]]
) -> None:
    cluster = Cluster()
    for spec, tasks in first:
        act(cluster, ("submit", spec, tasks))
    cluster.pass_time(1)
    for step in steps:
        act(cluster, step)
        cluster.check()
    for host in cluster.hosts.values():
        host.silent = False
    for number in cluster.jobs:
        act(cluster, ("kill", cluster.jobs.index(number)))
    cluster.pass_time(15)
    assert [cluster.world.job(number).state.final for number in cluster.jobs] == [
        *([True] * len(cluster.jobs))
    ]
    assert all(not host.alive for host in cluster.hosts.values()), "a kill leaves none"
    assert all(not host.over for host in cluster.hosts.values()), "every end is on record"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(jobs, st.integers(1, 4)), min_size=1, max_size=8))
def test_without_trouble_every_job_that_fits_completes(
    wanted: list[tuple[dict[str, Any], int]],
) -> None:
    cluster = Cluster()
    for spec, tasks in wanted:
        act(cluster, ("submit", spec, tasks))
    for _ in range(80):
        for name in NODES:
            cluster.talk(name)
            act(cluster, ("end", name, 0))
        cluster.check()
    for number in cluster.jobs:
        job = cluster.world.job(number)
        never = "at once" in job.reason and "the nodes in use" in job.reason
        assert job.state.value == "COMPLETED" or never, job


def test_the_model_notices_a_second_copy() -> None:
    cluster = Cluster()
    act(cluster, ("submit", {"requeue": True, "class": "single"}, 1))
    name = cluster.world.job(cluster.jobs[0]).tasks[0].node
    cluster.talk(name)
    (key,) = cluster.hosts[name].alive
    other = next(each for each in NODES if each != name)
    cluster.hosts[other].alive[key] = cluster.hosts[name].alive[key]
    cluster.hosts[other].ever.add(key)
    with pytest.raises(AssertionError, match="2 copies"):
        cluster.check()
