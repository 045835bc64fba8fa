"""A manager on a clock of our own, for the tests of its rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from kcms.jobs.migration import MoveReport
from kcms.jobs.model import ABILITIES, Exit, Job, NodeReport, TaskReport
from kcms.jobs.spec import check_spec
from kcms.manager import core, holding, migrations, nodes, scheduling, signals
from kcms.manager.core import Caller
from kcms.manager.memory import Draft, Memory, Rules, TaskKey
from kcms.manager.wanted import wanted_moves, wanted_tasks

ALICE = Caller("alice", 2001, 2001, "alpha1")
BOB = Caller("bob", 2002, 2002, "alpha2")
ROOT = Caller("root", 0, 0, "head", grid_root=True)
MOVER = {"machine": "x86_64", "kernel": "6.12", "criu": "4.1.1", "trouble": ""}


class World:
    """A manager's memory whose drafts are durable at once, and what its nodes say."""

    def __init__(self, *names: str, slots: int = 2) -> None:
        self.now = 1000.0
        self.slots = slots
        rules = Rules(30, 300, 5, migration_timeout=100, ended_shown=60)
        self.memory = Memory("alpha", rules)
        self.over: dict[int, Job] = {}
        self.kinds: list[str] = []
        nodes.follow_hosts(self.memory, set(names), self.now)
        for name in names:
            self.report(name)

    def do(self, decide: Callable[[Draft], Any]) -> Any:
        draft = Draft(self.memory)
        answer = decide(draft)
        scheduling.settle(draft, self.now)
        signals.tidy(draft)
        self.over.update({job.id: job for job in draft.changed.values() if job.state.final})
        self.kinds += [event.kind for event in draft.events]
        draft.merge()
        return answer

    def submit(self, caller: Caller = ALICE, **fields: Any) -> int:
        spec = check_spec({"executable": "/shared/x", **fields})
        return int(
            self.do(
                lambda draft: core.submit(draft, caller, spec, None, self.now, self.over.get)
            ).id
        )

    def report(self, name: str, *tasks: TaskReport, **changes: Any) -> list[TaskKey]:
        load = {"load_one": 0.0, "cpu_num": 2.0}
        said = NodeReport("boot", "1", self.slots, load, tasks, mover=MOVER, abilities=ABILITIES)
        said = replace(said, **changes)

        def decide(draft: Draft) -> list[TaskKey]:
            told = core.report(draft, name, said, self.now, over=self.over.get)
            signals.follow(draft, name, said)
            return told

        answer: list[TaskKey] = self.do(decide)
        return answer

    def kill(self, number: int, caller: Caller = ALICE) -> Job:
        def decide(draft: Draft) -> Job:
            job = core.check_sees(caller, draft.job(number) or self.over.get(number), number)
            return core.kill(draft, caller, job, self.now)

        job: Job = self.do(decide)
        return job

    def hold(self, number: int, caller: Caller = ALICE, release: bool = False) -> Job:
        return self.act(holding.release if release else holding.hold, number, caller)

    def act(
        self,
        act: Callable[[Draft, Caller, Job, float], Job],
        number: int,
        caller: Caller = ALICE,
    ) -> Job:
        def decide(draft: Draft) -> Job:
            job = core.check_sees(caller, draft.job(number) or self.over.get(number), number)
            return act(draft, caller, job, self.now)

        job: Job = self.do(decide)
        return job

    def migrate(self, number: int, target: str, check: bool = False) -> Job:
        def decide(draft: Draft) -> Job:
            job = core.check_sees(ALICE, draft.job(number) or self.over.get(number), number)
            return migrations.ask(draft, job, target, "alice", check, self.now)

        job: Job = self.do(decide)
        return job

    def set_state(self, name: str, state: str, reason: str = "", migrate: bool = False) -> None:
        def decide(draft: Draft) -> None:
            nodes.set_state(draft, name, state, reason, "root", self.now, migrate)

        self.do(decide)

    def silent(self, seconds: float) -> None:
        """Nobody reports for a while in which the manager listens."""
        for _ in range(int(seconds)):
            self.now += 1
            self.do(lambda draft: core.tick(draft, self.now, 1.0))

    def job(self, number: int) -> Job:
        return self.memory.jobs.get(number) or self.over[number]

    def wanted(self, name: str) -> list[tuple[int, int, int, str]]:
        tasks = wanted_tasks(self.memory, name)
        return [(each.job, each.task, each.epoch, each.want) for each in tasks]

    def moves(self, name: str) -> list[tuple[str, int, dict[str, Any]]]:
        """Step, epoch and data of what is wanted of a node."""
        wanted = wanted_moves(self.memory, name)
        return [(each.step, each.epoch, each.data) for each in wanted]

    def row(self, name: str) -> dict[str, Any]:
        return {each["name"]: each for each in nodes.documents(self.memory)}[name]

    def up(self) -> dict[str, str]:
        return {each["name"]: each["state"] for each in nodes.documents(self.memory)}


def said(phase: str, job: int = 1, epoch: int = 1, **fields: Any) -> TaskReport:
    return TaskReport(job, 0, epoch, phase, **fields)


def said_running(epoch: int = 1) -> TaskReport:
    return said("running", epoch=epoch, start_time=1001.0)


def ended(code: int | None = 0, signal: int | None = None, **counts: Any) -> TaskReport:
    return said("ended", start_time=1001.0, exit=Exit(code, signal, 1002.0, **counts))


def moved(
    step: str, ok: bool | None = True, epoch: int = 1, number: int = 1, **fields: Any
) -> MoveReport:
    return MoveReport(1, 0, epoch, fields.pop("store", ""), number, step, ok, **fields)
