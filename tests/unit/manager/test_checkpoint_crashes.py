"""Whoever dies when: never two copies, no image that is lost or left, and no work that was saved is
done over.

The manager is the real one; a node is the least that the terms of checkpoints ask of it.  What a
program has done is a number that grows, and an image has the number that it was made with.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.errors import KcmsError
from kcms.jobs.checkpoint import NO_IMAGE
from kcms.jobs.migration import MoveReport, WantedMove
from kcms.jobs.model import ABILITIES, Exit, Job, NodeReport, TaskReport, WantedTask
from kcms.jobs.spec import check_spec
from kcms.manager import checkpoints, core, ending, nodes, restarting, scheduling
from kcms.manager.litter_rows import Litter, LitterKey
from kcms.manager.memory import Draft, Memory, Rules
from kcms.manager.wanted import wanted_moves, wanted_tasks
from tests.unit.manager.world import ALICE, MOVER

LEASE = 50.0
Key = tuple[int, str]
"""Number and step of a move."""


@dataclass
class Copy:
    """What a node has on record of one placement, and how far its program has come."""

    state: str
    done: int = 0
    signal: int | None = None
    cause: str = ""


@dataclass
class Host:
    """A node with its copies by epoch; ``disk`` is the shared directory, path by path."""

    name: str
    disk: dict[str, int]
    copies: dict[int, Copy] = field(default_factory=dict)
    tasks: list[WantedTask] | None = None
    moves: list[WantedMove] = field(default_factory=list)
    answers: dict[Key, tuple[bool, int, dict[str, Any]]] = field(default_factory=dict)
    made: dict[int, str] = field(default_factory=dict)
    unheard: float = 0.0
    boots: int = 0
    fails: bool = False

    def act(self) -> None:
        """Do what was wanted when it was asked last."""
        if self.tasks is None:
            return
        wanted = {(each.number, each.step) for each in self.moves}
        for number, path in list(self.made.items()):
            if (number, "save") not in wanted and (number, "keep") not in wanted:
                self.disk.pop(path, None)
                del self.made[number]
        self.answers = {key: each for key, each in self.answers.items() if key in wanted}
        for move in self.moves:
            if (move.number, move.step) not in self.answers:
                ok, data = getattr(self, f"_{move.step}")(move)
                self.answers[move.number, move.step] = (ok, move.epoch, data)
        for task in self.tasks:
            self._task(task)

    def _save(self, move: WantedMove) -> tuple[bool, dict[str, Any]]:
        copy = self.copies.get(move.epoch)
        if copy is None or copy.state != "running" or self.fails:
            return False, {}
        path = f"/shared/{self.name}.{self.boots}.{move.number}.{len(self.disk)}"
        self.disk[path] = copy.done
        self.made[move.number] = path
        told = {"number": move.number, "path": path, "size": 1, "sha256": "ab", "time": 1001.0}
        return True, told

    def _keep(self, move: WantedMove) -> tuple[bool, dict[str, Any]]:
        self.made.pop(move.number, None)
        return move.data["path"] in self.disk, {}

    def _drop(self, move: WantedMove) -> tuple[bool, dict[str, Any]]:
        if self.fails:
            return False, {}
        for path in move.data["images"]:
            self.disk.pop(path, None)
        return True, {}

    def _task(self, task: WantedTask) -> None:
        copy = self.copies.get(task.epoch)
        if task.want == "kill":
            if copy is None:
                self.copies[task.epoch] = Copy("refused")
            elif copy.state == "running":
                self.copies[task.epoch] = Copy("ended", copy.done, 9)
        elif copy is None and task.image is None:
            self.copies[task.epoch] = Copy("running")
        elif copy is None and task.image is not None:
            done = self.disk.get(task.image.path)
            begun = Copy("refused", cause=NO_IMAGE) if done is None else Copy("running", done)
            self.copies[task.epoch] = begun

    def pass_time(self) -> None:
        self.unheard += 1
        for copy in self.copies.values():
            if copy.state == "running" and self.unheard > LEASE:
                copy.state = "lost"
            copy.done += copy.state == "running"

    def die(self) -> None:
        """The host goes down, and is there again; its records and images are on disks."""
        for copy in self.copies.values():
            copy.state = "lost" if copy.state == "running" else copy.state
        self.boots += 1
        self.tasks = None

    def forget(self, epoch: int) -> None:
        """Have no record of what is over, nor want it on an older word of the manager."""
        copy = self.copies.get(epoch)
        if copy is not None and copy.state != "running":
            del self.copies[epoch]
            if self.tasks is not None:
                self.tasks = [each for each in self.tasks if each.epoch != epoch]

    def report(self) -> NodeReport:
        moves = tuple(
            MoveReport(1, 0, epoch, "", number, step, ok, "" if ok else "no", data=data)
            for (number, step), (ok, epoch, data) in self.answers.items()
        )
        said = tuple(self._said(epoch, copy) for epoch, copy in self.copies.items())
        load = {"load_one": 0.0, "cpu_num": 2.0}
        words = (f"boot {self.boots}", "1", 2, load, said, moves)
        return NodeReport(*words, mover=MOVER, abilities=ABILITIES)

    def _said(self, epoch: int, copy: Copy) -> TaskReport:
        over = copy.state == "ended"
        record = Exit(None if copy.signal else 0, copy.signal, 1002.0) if over else None
        began = None if copy.state == "refused" else 1001.0
        return TaskReport(1, 0, epoch, copy.state, began, record, copy.cause, cause=copy.cause)


class Grid:
    """One job, two nodes and a manager, any of which may die at any time."""

    def __init__(self, **fields: Any) -> None:
        self.now = 1000.0
        self.rules = Rules(30, 60, 5, migration_timeout=40, lease=LEASE, max_restarts=1000)
        self.jobs: dict[int, Job] = {}
        self.litter: dict[LitterKey, Litter] = {}
        self.full = False
        self.disk: dict[str, int] = {}
        self.hosts = {name: Host(name, self.disk) for name in ("a", "b")}
        self.cut: set[str] = set()
        self.late: list[tuple[str, NodeReport]] = []
        self.restart_manager()
        for name in self.hosts:
            self.report(name)
        spec = check_spec({"executable": "/shared/x", **fields})
        self.do(lambda draft: core.submit(draft, ALICE, spec, None, self.now))
        self.requeued = False

    @property
    def job(self) -> Job:
        return self.jobs[1]

    def do(self, decide: Callable[[Draft], Any]) -> Any:
        draft = Draft(self.memory)
        answer = decide(draft)
        scheduling.settle(draft, self.now)
        if self.full and draft.dirty:
            self.full = False
            return None
        self.jobs.update(draft.changed)
        for key, row in draft.litter.items():
            self.litter.pop(key, None)
            if row is not None:
                self.litter[key] = row
        draft.merge()
        return answer

    def restart_manager(self) -> None:
        self.memory = Memory("alpha", self.rules, last_job=max(self.jobs, default=0))
        for job in self.jobs.values():
            if not job.state.final:
                self.memory.adopt(job)
        self.memory.litter = dict(self.litter)
        nodes.follow_hosts(self.memory, self.hosts.keys(), self.now)

    def report(self, name: str, said: NodeReport | None = None) -> None:
        words = said or self.hosts[name].report()
        over = self.jobs.get
        forget = self.do(lambda draft: core.report(draft, name, words, self.now, over=over))
        for _, _, epoch in forget or ():
            self.hosts[name].forget(epoch)

    def fetch(self, name: str) -> None:
        if name not in self.cut:
            self.hosts[name].tasks = wanted_tasks(self.memory, name)
            self.hosts[name].moves = wanted_moves(self.memory, name)

    def act(self, name: str) -> None:
        self.hosts[name].act()

    def exchange(self, name: str) -> None:
        self.fetch(name)
        self.act(name)
        if name not in self.cut:
            self.hosts[name].unheard = 0.0
            self.report(name)

    def hold_up(self, name: str) -> None:
        """What the node says now arrives later."""
        if not any(each == name for each, _ in self.late):
            self.late.append((name, self.hosts[name].report()))

    def arrive(self) -> None:
        if self.late:
            self.report(*self.late.pop(0))

    def ask(self, what: Callable[..., Any], *more: Any) -> None:
        def decide(draft: Draft) -> None:
            job = draft.job(1)
            if job is not None and not job.state.final:
                what(draft, job, *more, "alice", self.now)

        with contextlib.suppress(KcmsError):
            self.do(decide)

    def save(self) -> None:
        self.ask(checkpoints.ask, None)

    def restart(self) -> None:
        self.ask(restarting.ask, None)

    def requeue(self) -> None:
        self.requeued = True
        self.ask(ending.requeue)

    def crash(self, name: str) -> None:
        """A signal ends the program, where it runs."""
        for copy in self.hosts[name].copies.values():
            if copy.state == "running":
                copy.state, copy.signal = "ended", 11

    def die(self, name: str) -> None:
        self.hosts[name].die()

    def sever(self, name: str) -> None:
        """Cut a node off, or let it be heard again."""
        self.cut ^= {name}

    def fail(self, name: str) -> None:
        self.hosts[name].fails = not self.hosts[name].fails

    def fill_disk(self) -> None:
        self.full = True

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            for host in self.hosts.values():
                host.pass_time()
            self.do(lambda draft: core.tick(draft, self.now, 1.0))

    def check(self) -> None:
        running = [
            (name, epoch, copy.done)
            for name, host in self.hosts.items()
            for epoch, copy in host.copies.items()
            if copy.state == "running"
        ]
        assert len(running) <= 1, f"runs twice: {running}"
        for task in self.job.saved_tasks:
            known = [self.disk.get(each.image.path) for each in task.saved.kept]
            assert None not in known, "an image that is counted on is gone"
            if running and running[0][1] == task.epoch and known and not self.requeued:
                assert running[0][2] >= (known[0] or 0), "work that was saved is done over"

    def heal(self) -> None:
        """Nobody dies any more."""
        self.full = False
        self.cut.clear()
        for host in self.hosts.values():
            host.fails = False
        while self.late:
            self.arrive()
        for _ in range(12):
            self.pass_time(10)
            for name in self.hosts:
                self.exchange(name)
            self.check()

    def settle(self) -> None:
        """End the job, and see that nothing is left of its images."""
        self.heal()
        job = self.job
        assert not job.state.final or job.state.value == "FAILED", job.reason
        if not job.state.final:
            self.do(lambda draft: core.kill(draft, ALICE, draft.job(1) or job, self.now))
        self.memory.resting.clear()
        for _ in range(8):
            self.pass_time(1)
            for name in self.hosts:
                self.exchange(name)
        assert self.job.state.final
        assert self.disk == {}, "an image is left"
        assert self.litter == {}


NAMES = st.sampled_from(["a", "b"])
EVENTS = st.one_of(
    st.tuples(
        st.sampled_from(
            ["exchange", "exchange", "fetch", "act", "hold_up", "die", "sever", "fail", "crash"]
        ),
        NAMES,
    ),
    st.tuples(
        st.sampled_from(
            ["save", "save", "restart", "requeue", "arrive", "restart_manager", "fill_disk"]
        )
    ),
    st.tuples(st.just("pass_time"), st.sampled_from([1, 5, 35, 80])),
)


def play(grid: Grid, events: list[tuple[Any, ...]]) -> None:
    for name in ("a", "b", "a"):
        grid.exchange(name)
    for name, *words in events:
        getattr(grid, name)(*words)
        grid.check()


@given(st.lists(EVENTS, max_size=40), st.sampled_from([0, 10, 60]))
@settings(max_examples=100, deadline=None)
def test_whatever_happens(events: list[tuple[Any, ...]], interval: int) -> None:
    grid = Grid(checkpoint_interval=interval, requeue=True)
    play(grid, events)
    grid.settle()


WAYS = [("save",), ("fetch", "a"), ("act", "a"), ("exchange", "a"), ("exchange", "a")]
"""How a checkpoint comes about, from being asked for until its node knows that it is kept."""

TROUBLES: list[list[tuple[Any, ...]]] = [
    [("die", "a")],
    [("sever", "a"), ("pass_time", 80)],
    [("sever", "a"), ("pass_time", 80), ("exchange", "b"), ("sever", "a")],
    [("restart_manager",)],
    [("fill_disk",)],
    [("hold_up", "a"), ("exchange", "a"), ("arrive",)],
    [("crash", "a")],
    [("restart",)],
    [("requeue",)],
    [("fail", "a")],
]


@pytest.mark.parametrize("at", range(len(WAYS) + 1))
@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda each: "-".join(each_[0] for each_ in each))
def test_each_trouble_at_each_point(at: int, trouble: list[tuple[Any, ...]]) -> None:
    grid = Grid(checkpoint_interval=600)
    play(grid, [*WAYS, ("pass_time", 5), *WAYS[:at], *trouble, *WAYS[at:]])
    grid.settle()
