"""The manager's rules and a node's, joined: what one decides, the other does, whoever dies when.

As in :mod:`tests.unit.manager.test_migration_crashes`, but a node decides as the real one; only its
disk, its units and criu are made up here.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcms.jobs.migration import WantedMove
from kcms.jobs.model import Exit, NodeReport, WantedTask
from kcms.node import core, moves
from kcms.node.core import Record, Started, TaskId, Unit
from kcms.node.moves import MoveId, MoveRecord, Result
from tests.unit.manager.test_migration_crashes import ABLE, ACTIONS, ENDS, SEQUENCE, Grid
from tests.unit.manager.world import MOVER


class RealNode:
    """Disk and units of a node in memory, and the real decisions on them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks: list[WantedTask] | None = None
        self.moves: list[WantedMove] = []
        self.fails: set[str] = set()
        self.stale: set[int] = set()
        self.records: dict[TaskId, Record] = {}
        self.units: dict[TaskId, Unit] = {}
        self.held: set[TaskId] = set()
        self.move_records: dict[MoveId, MoveRecord] = {}
        self.movers: dict[MoveId, str] = {}
        self.images: set[int] = set()
        self.dumped: dict[TaskId, int] = {}
        self.forgotten: set[TaskId] = set()
        self.time = 0.0
        self.boot = 1

    @property
    def copies(self) -> dict[int, str]:
        """As the other node has them."""
        return {
            task.epoch: "frozen" if task in self.held else "run"
            for task, unit in self.units.items()
            if unit.alive and self.records[task].started and not self.records[task].restoring
        }

    def act(self, images: set[int]) -> None:
        self.images, self.time = images, self.time + 100.0
        self._finish_movers()
        wanted = self._wanted()
        before = self._snapshot(self._with_restores(wanted))
        for each in core.decide(before):
            self._perform(each)
        for move in moves.decide(self._moves_snapshot(wanted)):
            self._perform_move(move)

    def _wanted(self) -> dict[TaskId, WantedTask] | None:
        return None if self.tasks is None else {TaskId.of(each): each for each in self.tasks}

    def _wanted_moves(self) -> dict[MoveId, WantedMove] | None:
        return None if self.tasks is None else {MoveId.of(each): each for each in self.moves}

    def _with_restores(
        self, wanted: dict[TaskId, WantedTask] | None
    ) -> dict[TaskId, WantedTask] | None:
        if wanted is None:
            return None
        return {**moves.restores(self._wanted_moves(), self.move_records), **wanted}

    def _snapshot(self, wanted: dict[TaskId, WantedTask] | None) -> core.Snapshot:
        return core.Snapshot(
            wanted=wanted,
            records=dict(self.records),
            units=dict(self.units),
            boot_id=str(self.boot),
            boottime=self.time,
            forget=frozenset(self.forgotten),
            store="",
        )

    def _moves_snapshot(self, wanted: dict[TaskId, WantedTask] | None) -> moves.Snapshot:
        return moves.Snapshot(
            wanted=self._wanted_moves(),
            records=dict(self.move_records),
            alive=frozenset(self.movers),
            held=frozenset(self.held),
            tasks=self._snapshot(wanted),
        )

    def _perform(self, each: core.Instruction) -> None:
        match each:
            case core.Prepare(wanted, refusal):
                task = TaskId.of(wanted)
                restoring = any(MoveId.of(m).task == task for m in self.moves)
                self.records[task] = Record(wanted, refused=refusal, restoring=restoring)
            case core.Start(task):
                self._start(task)
            case core.Refuse(task, message):
                if self.records[task].started is None:
                    self.records[task] = replace(self.records[task], refused=message)
            case core.Terminate(task, _):
                kill = core.Kill(str(self.boot), self.time)
                self.records[task] = replace(self.records[task], kill=kill)
            case core.KillNow(task) | core.Break(task):
                self._over(task, Exit(None, 9, 1002.0))
            case core.Forget(task):
                del self.records[task]
                self.units.pop(task, None)
            case core.Disown(task):
                raise AssertionError(f"{task} is disowned")

    def _start(self, task: TaskId) -> None:
        record = self.records[task]
        if record.refused is not None:
            return
        assert record.restoring or task.epoch == 1, "a moved job was begun anew"
        self.units[task] = Unit(True)
        if record.restoring:
            self.held.add(task)
        started = Started(str(self.boot), 1001.0)
        self.records[task] = replace(record, started=started, restoring=False)

    def _over(self, task: TaskId, record: Exit | None) -> None:
        self.units[task] = Unit(False)
        self.held.discard(task)
        self.records[task] = replace(self.records[task], exit=record)

    def _perform_move(self, each: moves.Instruction) -> None:
        match each:
            case moves.Begin(move):
                self.move_records[MoveId.of(move)] = MoveRecord(move)
            case moves.Run(move, step):
                self.movers[move] = step
                record = self.move_records[move]
                self.move_records[move] = replace(record, begun=record.begun | {step})
            case moves.Conclude(move, step, result):
                self._result(move, step, result)
            case moves.Undo(move, stop):
                self.move_records[move] = replace(self.move_records[move], undone=True)
                if stop:
                    self.movers.pop(move, None)
            case moves.Remove(move):
                del self.move_records[move]
            case moves.Thaw(task):
                self.held.discard(task)
                if task in self.dumped:
                    self.stale.add(self.dumped[task])

    def _result(self, move: MoveId, step: str, result: Result) -> None:
        record = self.move_records[move]
        results = {**record.results, step: result}
        self.move_records[move] = replace(record, results=results)

    def _finish_movers(self) -> None:
        """What criu and the rest were about when we looked last is done now."""
        for move, step in list(self.movers.items()):
            del self.movers[move]
            record = self.move_records[move]
            if step == "clean":
                self.move_records[move] = replace(record, cleaned=True)
            elif step in self.fails or (step == "dump" and record.undone):
                self._result(move, step, Result(False, "it does not go", step == "dump"))
            else:
                self._result(move, step, self._outcome(move, step))

    def _outcome(self, move: MoveId, step: str) -> Result:
        if step == "dump":
            unit = self.units.get(move.task)
            if unit is None or not unit.alive:
                return Result(False, "the job is over")
            self.held.add(move.task)
            self.dumped[move.task] = move.number
            self.images.add(move.number)
        return Result(step != "restore" or move.number in self.images, "")

    def forget(self, epoch: int) -> None:
        self.forgotten |= {task for task in self.records if task.epoch == epoch}

    def end(self) -> bool:
        running = [
            task for task, unit in self.units.items() if unit.alive and task not in self.held
        ]
        for task in running:
            self._over(task, Exit(0, None, 1002.0))
        return bool(running)

    def restart(self) -> None:
        self.tasks, self.moves = None, []
        self.forgotten.clear()

    def die(self) -> None:
        self.boot += 1
        self.units.clear()
        self.held.clear()
        self.movers.clear()
        self.restart()

    def report(self) -> NodeReport:
        wanted = self._wanted()
        tasks = core.reports(self._snapshot(self._with_restores(wanted)))
        said = moves.reports(self._moves_snapshot(wanted))
        load = {"load_one": 0.0, "cpu_num": 2.0}
        return NodeReport("boot", "1", 2, load, tasks, said, mover=MOVER, abilities=ABLE)


def made() -> Grid:
    return Grid(RealNode)


def test_a_job_moves_there_and_back() -> None:
    grid = made()
    for turn, node in enumerate("bab"):
        grid.migrate()
        for _ in range(12):
            for name in grid.hosts:
                grid.exchange(name)
                grid.check()
        assert (grid.job.tasks[0].node, grid.running()) == (node, [(node, turn + 2)])
    grid.heal()


LONG = [SEQUENCE[0], *SEQUENCE[1:] * 2]
"""A step of a real node takes two looks, so its migration is twice as long."""


@pytest.mark.parametrize("trouble", sorted({*ACTIONS, *ENDS}))
def test_any_trouble_at_any_point(trouble: str) -> None:
    for point in range(len(LONG) + 1):
        grid = made()
        for each in LONG[:point]:
            ACTIONS[each](grid)
            grid.check()
        {**ACTIONS, **ENDS}[trouble](grid)
        grid.check()
        for each in LONG[point:]:
            ACTIONS[each](grid)
            grid.check()
        grid.heal()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(ACTIONS) + [f"{n} exchanges" for n in "ababab"]), max_size=80),
    st.sampled_from([None, *ENDS]),
    st.lists(st.sampled_from(sorted(ACTIONS)), max_size=20),
)
def test_any_troubles_in_any_order(before: list[str], end: str | None, after: list[str]) -> None:
    grid = made()
    for each in before:
        ACTIONS[each](grid)
        grid.check()
    if end is not None:
        ENDS[end](grid)
    for each in after:
        ACTIONS[each](grid)
        grid.check()
    grid.heal()
