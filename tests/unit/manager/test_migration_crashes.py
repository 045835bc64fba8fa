"""Whoever dies when: never two copies of a job that run, and no job lost without a node's death.

The manager is the real one; a node is the least that the terms ask of it: it lets a copy run only
while it is wanted to run and no move of it is wanted, and it thaws what it kills with a grace.
Manager and nodes exchange reports, some of them late, and what is wanted, which may be old.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.errors import Conflict
from kcms.jobs.migration import MoveReport, WantedMove
from kcms.jobs.model import Exit, Job, NodeReport, Task, TaskReport, WantedTask
from kcms.jobs.spec import check_spec
from kcms.jobs.states import State
from kcms.manager import core, migrations, nodes, scheduling
from kcms.manager.memory import Draft, Memory, Rules
from kcms.manager.wanted import wanted_moves, wanted_tasks
from tests.unit.manager.world import ALICE, MOVER

LIVE = ("run", "frozen")
ABLE = ("tasks",)


@dataclass
class Host:
    """A node: its copies by epoch (run, frozen, ended, lost) of one task, and what it fetched last.

    ``dumped`` has the number of the migration that made an image of a copy; it is ``stale`` once
    the copy ran on.
    """

    name: str
    index: int = 0
    copies: dict[int, str] = field(default_factory=dict)
    killing: set[int] = field(default_factory=set)
    tasks: list[WantedTask] | None = None
    moves: list[WantedMove] = field(default_factory=list)
    done: dict[tuple[int, str, int], bool] = field(default_factory=dict)
    fails: set[str] = field(default_factory=set)
    dumped: dict[int, int] = field(default_factory=dict)
    stale: set[int] = field(default_factory=set)

    def act(self, images: set[int]) -> None:
        """Do what was wanted when it was asked last."""
        if self.tasks is None:
            return
        held = {each.epoch for each in self.moves if each.step in ("dump", "restore")}
        self._undo(held)
        for move in self.moves:
            self._step(move, images)
        for task in self.tasks:
            if task.want == "kill":
                self._kill(task)
            elif task.epoch not in self.copies:
                assert task.epoch == 1, "a moved job was begun anew"
                self.copies[task.epoch] = "run"
            elif self.copies[task.epoch] == "frozen" and task.epoch not in held:
                self._thaw(task.epoch)

    def _thaw(self, epoch: int) -> None:
        self.copies[epoch] = "run"
        if epoch in self.dumped:
            self.stale.add(self.dumped[epoch])

    def _undo(self, held: set[int]) -> None:
        assert self.tasks is not None
        wanted = {(each.number, each.step, each.epoch) for each in self.moves}
        runs = {each.epoch for each in self.tasks}
        for key in self.done.keys() - wanted:
            del self.done[key]
            _, step, epoch = key
            if step == "restore" and epoch not in runs | held:
                self.copies.pop(epoch, None)

    def _step(self, move: WantedMove, images: set[int]) -> None:
        key = (move.number, move.step, move.epoch)
        if move.step == "dump" and self.copies.get(move.epoch) not in LIVE:
            self.done[key] = False
        if key in self.done:
            return
        self.done[key] = move.step not in self.fails
        if not self.done[key]:
            return
        if move.step == "dump":
            self.copies[move.epoch] = "frozen"
            self.dumped[move.epoch] = move.number
            images.add(move.number)
        elif move.step == "restore":
            self.done[key] = move.number in images and self.copies.get(move.epoch) is None
            if self.done[key]:
                self.copies[move.epoch] = "frozen"

    def _kill(self, task: WantedTask) -> None:
        copy = self.copies.setdefault(task.epoch, "refused")
        if copy not in LIVE:
            return
        if task.grace > 0 and task.epoch not in self.killing:
            self.killing.add(task.epoch)
            self._thaw(task.epoch)
        else:
            self.copies[task.epoch] = "ended"

    def die(self) -> None:
        """The host goes down and comes back."""
        self.copies = {
            epoch: "lost" if copy in LIVE else copy for epoch, copy in self.copies.items()
        }
        self.done = {key: ok for key, ok in self.done.items() if key[1] != "restore"}
        self.restart()

    def forget(self, epoch: int) -> None:
        if self.copies.get(epoch) not in LIVE:
            self.copies.pop(epoch, None)

    def end(self) -> bool:
        """Whether a program ran here, which has ended by itself now."""
        running = [epoch for epoch, copy in self.copies.items() if copy == "run"]
        self.copies.update(dict.fromkeys(running, "ended"))
        return bool(running)

    def restart(self) -> None:
        """Its daemon is killed and started: what was wanted is to be asked again."""
        self.tasks = None

    def report(self) -> NodeReport:
        tasks = tuple(_task_report(self.index, epoch, copy) for epoch, copy in self.copies.items())
        moves = tuple(
            MoveReport(1, self.index, epoch, "", number, step, ok, "" if ok else "it does not go")
            for (number, step, epoch), ok in self.done.items()
        )
        load = {"load_one": 0.0, "cpu_num": 2.0}
        return NodeReport("boot", "1", 2, load, tasks, moves, mover=MOVER, abilities=ABLE)


def _task_report(index: int, epoch: int, copy: str) -> TaskReport:
    if copy in LIVE:
        return TaskReport(1, index, epoch, "running", 1001.0)
    record = Exit(0, None, 1002.0) if copy == "ended" else None
    return TaskReport(1, index, epoch, copy, 1001.0, record, "" if record else "it went down")


class Grid:
    """One job, two nodes and a manager, any of which may die at any time."""

    spec: ClassVar[dict[str, Any]] = {"executable": "/shared/x"}
    index = 0
    others: frozenset[str] = frozenset()
    """Nodes besides those two."""

    def __init__(self, make: Callable[[str], Any] = Host) -> None:
        self.now = 1000.0
        self.rules = Rules(30, 300, 5, migration_timeout=100)
        self.disk: dict[int, Job] = {}
        self.disk_full = False
        self.images: set[int] = set()
        self.hosts: dict[str, Any] = {name: make(name) for name in ("a", "b")}
        self.late: list[tuple[str, NodeReport]] = []
        self.over = False
        self.restart_manager()
        self.begin()
        for name in self.hosts:
            self.exchange(name)
        assert self.task.start_time == 1001.0

    def begin(self) -> None:
        """Have the job placed."""
        for name in self.hosts:
            self.report(name)
        self.submit()

    def submit(self) -> None:
        spec = check_spec(self.spec)
        self.do(lambda draft: core.submit(draft, ALICE, spec, None, self.now))

    @property
    def job(self) -> Job:
        return self.disk[1]

    @property
    def task(self) -> Task:
        """The one that moves."""
        found = self.job.task(self.index)
        assert found is not None
        return found

    @property
    def silent_for_long(self) -> bool:
        return any(node.silence > self.rules.node_lost for node in self.memory.nodes.values())

    def do(self, decide: Callable[[Draft], Any]) -> Any:
        draft = Draft(self.memory)
        answer = decide(draft)
        scheduling.settle(draft, self.now)
        if self.disk_full and draft.dirty:
            self.disk_full = False
            return None
        self.disk.update(draft.changed)
        draft.merge()
        return answer

    def restart_manager(self) -> None:
        self.memory = Memory("alpha", self.rules, last_job=max(self.disk, default=0))
        for job in self.disk.values():
            if not job.state.final:
                self.memory.adopt(job)
        nodes.follow_hosts(self.memory, self.hosts.keys() | self.others, self.now)

    def report(self, name: str, said: NodeReport | None = None) -> None:
        words = said or self.hosts[name].report()
        forget = self.do(
            lambda draft: core.report(draft, name, words, self.now, over=self.disk.get)
        )
        for _, _, epoch in forget or ():
            self.hosts[name].forget(epoch)

    def fetch(self, name: str) -> None:
        host = self.hosts[name]
        host.tasks = wanted_tasks(self.memory, name)
        host.moves = wanted_moves(self.memory, name)

    def act(self, name: str) -> None:
        self.hosts[name].act(self.images)
        self.check()

    def exchange(self, name: str) -> None:
        self.fetch(name)
        self.act(name)
        self.report(name)

    def hold_up(self, name: str) -> None:
        """What the node says now arrives later."""
        if not any(each == name for each, _ in self.late):
            self.late.append((name, self.hosts[name].report()))

    def arrive(self) -> None:
        if self.late:
            self.report(*self.late.pop(0))

    def migrate(self) -> None:
        there = "b" if self.task.node == "a" else "a"

        def decide(draft: Draft) -> None:
            job = draft.job(1)
            if job is not None and not job.state.final:
                migrations.ask(draft, job, there, "alice", False, self.now, self.index)

        with contextlib.suppress(Conflict):
            self.do(decide)

    def kill(self) -> None:
        job = self.memory.jobs.get(1)
        if job is not None:
            self.over = True
            self.do(lambda draft: core.kill(draft, ALICE, job, self.now))

    def end(self, name: str) -> None:
        """The program ends by itself, where it runs."""
        self.over = self.hosts[name].end() or self.over

    def die(self, name: str) -> None:
        if any(copy in LIVE for copy in self.hosts[name].copies.values()):
            self.over = True
        self.hosts[name].die()

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.do(lambda draft: core.tick(draft, self.now, 1.0))
        self.over = self.over or self.silent_for_long

    def restart_daemon(self, name: str) -> None:
        self.hosts[name].restart()

    def fill_disk(self) -> None:
        self.disk_full = True

    def fail(self, name: str, step: str) -> None:
        self.hosts[name].fails ^= {step}

    def running(self) -> list[tuple[str, int]]:
        return [
            (name, epoch)
            for name, host in self.hosts.items()
            for epoch, copy in host.copies.items()
            if copy == "run"
        ]

    def live(self) -> list[tuple[str, int]]:
        return [
            (name, epoch)
            for name, host in self.hosts.items()
            for epoch, copy in host.copies.items()
            if copy in LIVE
        ]

    def check(self) -> None:
        assert len(self.running()) <= 1, f"runs twice: {self.running()}"
        done = self.job.migration
        if done is not None and done.phase == "done":
            stale = {number for host in self.hosts.values() for number in host.stale}
            assert done.number not in stale, "the source ran on, and an old image became the job"

    def heal(self) -> None:
        """Nobody dies any more; what must be so in the end."""
        self.disk_full = False
        for host in self.hosts.values():
            host.fails.clear()
        while self.late:
            self.arrive()
        for _ in range(12):
            for name in self.hosts:
                self.exchange(name)
        assert self.job.migration is None or self.job.migration.over
        if self.task.state.final:
            assert self.over, f"lost: {self.job.reason}"
            assert self.live() == []
        else:
            task = self.task
            assert self.live() == self.running() == [(task.node, task.epoch)]


def actions() -> dict[str, Callable[[Grid], None]]:
    found: dict[str, Callable[[Grid], None]] = {
        "migrate": Grid.migrate,
        "restart manager": Grid.restart_manager,
        "disk full": Grid.fill_disk,
        "late report arrives": Grid.arrive,
        "a second": lambda grid: grid.pass_time(1),
        "silence": lambda grid: grid.pass_time(31),
    }
    for name in ("a", "b"):
        found |= {
            f"{name} exchanges": functools.partial(Grid.exchange, name=name),
            f"{name} fetches": functools.partial(Grid.fetch, name=name),
            f"{name} acts": functools.partial(Grid.act, name=name),
            f"{name} reports": functools.partial(Grid.report, name=name),
            f"{name} reports late": functools.partial(Grid.hold_up, name=name),
            f"daemon of {name} restarts": functools.partial(Grid.restart_daemon, name=name),
            f"{name} fails to dump": functools.partial(Grid.fail, name=name, step="dump"),
            f"{name} fails to restore": functools.partial(Grid.fail, name=name, step="restore"),
        }
    return found


ENDS: dict[str, Callable[[Grid], None]] = {
    "kill": Grid.kill,
    "end on a": functools.partial(Grid.end, name="a"),
    "end on b": functools.partial(Grid.end, name="b"),
    "a dies": functools.partial(Grid.die, name="a"),
    "b dies": functools.partial(Grid.die, name="b"),
    "long silence": lambda grid: grid.pass_time(301),
}
ACTIONS = actions()

SEQUENCE = ["migrate"] + [
    f"{name} {what}"
    for name in ("a", "b", "a", "b", "a", "b")
    for what in ("fetches", "acts", "reports")
]
"""A whole migration, in its smallest parts."""

COMMIT = SEQUENCE.index("migrate") + 4 * 3
"""The report that makes the copy on b the job."""


def test_the_sequence_moves_the_job() -> None:
    grid = Grid()
    for each in SEQUENCE:
        ACTIONS[each](grid)
    assert (grid.job.tasks[0].node, grid.running()) == ("b", [("b", 2)])
    grid.heal()
    assert grid.live() == [("b", 2)]


@pytest.mark.parametrize("trouble", sorted({*ACTIONS, *ENDS}))
@pytest.mark.parametrize("later", [False, True])
def test_any_trouble_at_any_point(trouble: str, later: bool) -> None:
    """:param later: whether the sequence goes on before all is well again"""
    for point in range(len(SEQUENCE) + 1):
        grid = Grid()
        for each in SEQUENCE[:point]:
            ACTIONS[each](grid)
        {**ACTIONS, **ENDS}[trouble](grid)
        grid.check()
        for each in SEQUENCE[point:] if later else ():
            ACTIONS[each](grid)
            grid.check()
        grid.heal()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(ACTIONS) + [f"{n} exchanges" for n in "abab"]), max_size=80),
    st.sampled_from([None, *ENDS]),
    st.lists(st.sampled_from(sorted(ACTIONS)), max_size=20),
)
def test_any_troubles_in_any_order(before: list[str], end: str | None, after: list[str]) -> None:
    grid = Grid()
    for each in before:
        ACTIONS[each](grid)
        grid.check()
    if end is not None:
        ENDS[end](grid)
    for each in after:
        ACTIONS[each](grid)
        grid.check()
    grid.heal()


def test_a_job_that_is_not_over_is_not_lost_to_a_dead_target() -> None:
    grid = Grid()
    for each in SEQUENCE[:COMMIT]:
        ACTIONS[each](grid)
    assert grid.live() == [("a", 1), ("b", 2)]
    grid.hosts["b"].die()
    grid.heal()
    assert (grid.job.state, grid.running()) == (State.RUNNING, [("a", 1)])
    assert grid.job.migration is not None
    assert replace(grid.job.migration, number=0).phase == "failed"
