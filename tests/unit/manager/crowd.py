"""A cluster whose nodes have CPUs that their jobs share, on a clock of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from kcms.jobs.migration import MoveReport, WantedMove
from kcms.jobs.model import Exit, TaskReport
from kcms.jobs.pressure import Marks
from kcms.jobs.processes import Process
from kcms.manager import balance, balance_told, core, leaving
from kcms.manager.memory import Draft, under_way
from kcms.manager.wanted import wanted_moves, wanted_tasks
from tests.unit.manager.world import MOVER, World

Key = tuple[int, int, int]
STEP = 5.0
"""Seconds between two reports of a node."""

FOREVER = 1e9


@dataclass
class Work:
    """What a job has to do in CPU seconds, and at which of its moments it wants a CPU."""

    left: float = FOREVER
    wants: Callable[[float], bool] = lambda now: True
    used: float = 0.0
    mib: int = 50


class Crowd(World):
    """Nodes that do at once what is wanted of them, one step of a move with each report."""

    def __init__(self, *names: str, slots: int = 8, cpus: int = 2, marks: Marks | None) -> None:
        super().__init__(*names, slots=slots)
        self.names, self.cpus = names, cpus
        self.work: dict[int, Work] = {}
        self.refuses: dict[tuple[str, str], str] = {}
        self.others: Callable[[str, float], float] = lambda name, now: 0.0
        self.begun: list[tuple[float, int, str, str]] = []
        self.memory.rules = replace(self.memory.rules, balance=marks)
        self.memory.steady = lambda: self.now

    @property
    def used(self) -> float:
        return sum(each.used for each in self.work.values())

    def crowd(self, name: str, *works: Work, **fields: Any) -> list[int]:
        """Jobs that begin on one node, however crowded it is."""
        others = [each for each in self.names if each != name]
        for each in others:
            self.set_state(each, "drain")
        jobs = []
        for work in works:
            jobs.append(self.submit(**fields))
            self.work[jobs[-1]] = work
        for each in others:
            self.set_state(each, "resume")
        return jobs

    def node_of(self, number: int) -> str:
        task = self.job(number).task(0)
        assert task is not None
        return task.node

    def places(self) -> dict[str, int]:
        """How many jobs run on each node."""
        return {name: len(self.memory.tasks_on(name)) for name in self.names}

    def told(self, user: str | None = None) -> dict[str, Any]:
        return balance_told.document(self.memory, user)

    def roles(self) -> dict[str, str]:
        return {row["name"]: row["role"] for row in self.told()["nodes"]}

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / STEP)):
            self.now += STEP
            for name in self.names:
                self._run(name)
            self.do(self._tick)
            for job in self.memory.jobs.values():
                moving = under_way(job)
                if moving is not None and moving.start_time == self.now:
                    self.begun.append((self.now, job.id, moving.source, moving.target))

    def _tick(self, draft: Draft) -> None:
        core.tick(draft, self.now, STEP)
        leaving.tick(draft, STEP)
        balance.tick(draft, STEP)

    def _run(self, name: str) -> None:
        """A node works for a while, and reports."""
        moves = wanted_moves(self.memory, name)
        still = {(each.job, each.task, each.epoch) for each in moves if each.step == "dump"}
        there: list[Key] = []
        for each in wanted_tasks(self.memory, name):
            if each.want == "run":
                there.append((each.job, each.task, each.epoch))
                still |= {there[-1]} if each.suspend else set()
        busy = [key for key in there if key not in still and self._wants(key[0])]
        share = min(1.0, self.cpus / len(busy)) if busy else 0.0
        for key in busy:
            work = self.work[key[0]]
            done = min(share * STEP, work.left)
            work.used, work.left = work.used + done, work.left - done
        self._say(name, there, busy, moves)

    def _wants(self, number: int) -> bool:
        work = self.work.setdefault(number, Work())
        return work.left > 0 and work.wants(self.now)

    def _say(self, name: str, there: list[Key], busy: list[Key], moves: list[WantedMove]) -> None:
        tasks = {}
        for key in there:
            over = self.work[key[0]].left <= 0
            exit_ = Exit(0, None, self.now) if over else None
            phase = "ended" if over else "running"
            tasks[key] = TaskReport(*key, phase, start_time=1001.0, exit=exit_)
        answers = []
        for move in moves:
            key, message = (move.job, move.task, move.epoch), self.refuses.get((name, move.step))
            if move.step == "restore" and message is None:
                tasks[key] = TaskReport(*key, "running", start_time=1001.0)
            ok, data = message is None, self._answers(move)
            said = MoveReport(*key, "", move.number, move.step, ok, message or "", data=data)
            answers.append(said)
        self.report(
            name,
            *tasks.values(),
            moves=tuple(answers),
            processes=tuple(self._process(key, key in busy) for key in there),
            load={
                **{"load_one": 0.0, "cpu_num": float(self.cpus)},
                "proc_run": len(busy) + self.others(name, self.now),
            },
            mover=MOVER,
        )

    def _answers(self, move: WantedMove) -> dict[str, Any]:
        kib = self.work[move.job].mib * 1024
        if move.step == "check":
            return {"memory_kib": kib}
        return {"size": kib * 1024, "still_seconds": 1.0} if move.step == "dump" else {}

    def _process(self, key: Key, runs: bool) -> Process:
        work, pid = self.work[key[0]], 1000 + key[0] * 10 + key[2]
        state = "R" if runs else "S"
        return Process(
            *(pid, pid, "x", *key, ""),
            root=True,
            status=state,
            cpu_seconds=work.used,
            rss_kib=work.mib * 1024,
            threads=1,
        )
