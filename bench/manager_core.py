"""What one event costs the manager's core: nodes with two running jobs each, and a queue.

    make bench NAME=manager_core

Prints microseconds of processor time for one unchanged report, one report with an end, and one
second's tick, each with the placement and the publishing that go with it.  No disk, no network.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kcms.jobs.model import Exit, NodeReport, TaskReport
from kcms.jobs.spec import check_spec
from kcms.manager import core, scheduling
from kcms.manager.core import Caller
from kcms.manager.memory import Draft, Memory, Rules
from kcms.manager.nodes import follow_hosts
from kcms.manager.wanted import wanted_tasks

ROUNDS = 50
CALLER = Caller("alice", 2001, 2001, "alpha1")


class Cluster:
    def __init__(self, nodes: int, waiting: int) -> None:
        self.memory = Memory("bench", Rules(max_open_jobs=1_000_000))
        names = [f"node{number}" for number in range(nodes)]
        follow_hosts(self.memory, set(names), 0.0)
        for name in names:
            self.report(name, self.said(()))
        spec = check_spec({"executable": "/shared/x"})

        def submit(draft: Draft) -> None:
            for _ in range(2 * nodes + waiting):
                core.submit(draft, CALLER, spec, None, 0.0)

        self.do(submit)
        self.running = [self.said(self.tasks(name)) for name in names]
        self.names = names
        for name, said in zip(names, self.running, strict=True):
            self.report(name, said)

    def report(self, name: str, said: NodeReport) -> None:
        self.do(lambda draft: core.report(draft, name, said, 1.0))

    def said(self, tasks: tuple[TaskReport, ...]) -> NodeReport:
        return NodeReport("boot", "1", 2, {"load_one": 0.5, "cpu_num": 2.0}, tasks)

    def tasks(self, name: str) -> tuple[TaskReport, ...]:
        wanted = wanted_tasks(self.memory, name)
        return tuple(TaskReport(w.job, w.task, w.epoch, "running", 1.0) for w in wanted)

    def do(self, decide: Callable[[Draft], Any]) -> None:
        draft = Draft(self.memory)
        decide(draft)
        scheduling.settle(draft, 2.0)
        for name in draft.merge():
            wanted_tasks(self.memory, name)


def cost(work: Callable[[int], None]) -> float:
    began = time.process_time()
    for turn in range(ROUNDS):
        work(turn)
    return (time.process_time() - began) / ROUNDS * 1e6


def measure(nodes: int, waiting: int) -> None:
    cluster = Cluster(nodes, waiting)

    def same(turn: int) -> None:
        name, said = cluster.names[turn], cluster.running[turn]
        cluster.report(name, said)

    def end(turn: int) -> None:
        first, *rest = cluster.running[turn].tasks
        over = replace(first, phase="ended", exit=Exit(0, None, 4.0))
        said = cluster.said((over, *rest))
        cluster.report(cluster.names[turn], said)

    def tick(_: int) -> None:
        cluster.do(lambda draft: core.tick(draft, 5.0, 0.1))

    print(f"{nodes} nodes, {2 * nodes} running, {waiting} waiting; microseconds each")
    for what, work in (("report, unchanged", same), ("report of an end", end), ("tick", tick)):
        print(f"  {what:20} {cost(work):10.0f}")


def main() -> int:
    for nodes, waiting in ((100, 100), (1000, 1000), (100, 10_000)):
        measure(nodes, waiting)
    return 0
