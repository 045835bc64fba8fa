"""Carries out what :mod:`kcms.node.moves` decides: records of moves, their units, thaws.

The work itself is done by :mod:`kcms.node.mover` in a transient unit of its own, which has the
rights that this daemon lacks and outlives it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from kcms.errors import Unavailable
from kcms.jobs.migration import MoveReport, WantedMove
from kcms.jobs.model import WantedTask
from kcms.node import cgroup, core, durable, fetches, moves
from kcms.node.capability import STILL
from kcms.node.core import TaskId
from kcms.node.launcher import Launcher, LaunchError
from kcms.node.move_records import MoveRecords
from kcms.node.moves import MoveId
from kcms.node.records import Records

log = logging.getLogger("kcms.node")

RETRY_FIRST = 1.0
RETRY_LONGEST = 300.0
COUNTED = 16  # attempts at the most
_WITH_CRIU = ("admit", "save", moves.FETCH)
"""Steps that wait until it is known whether criu works here."""

MOST_REPORTED = 120 * 1024
"""Bytes of the data of all moves in one report, which as a whole has a bound."""


def _no_mover() -> dict[str, str]:
    return {"trouble": "this node cannot move jobs"}


@dataclass(frozen=True)
class Means:
    """What moving needs of this host's configuration, and what it knows of itself."""

    criu: str = "/usr/sbin/criu"
    shared_directories: tuple[str, ...] = ()
    mover: Callable[[], dict[str, str]] = field(default=_no_mover)


class Movement:
    """The migrations of this node's tasks.  What is kept in memory may be lost without harm."""

    def __init__(
        self,
        records: MoveRecords,
        tasks: Records,
        launcher: Launcher,
        means: Means,
        clock: tuple[Callable[[], float], Callable[[], float]],
    ) -> None:
        self.records = records
        self.tasks = tasks
        self.launcher = launcher
        self.means = means
        self._wall, self._boot = clock
        self._attempts: dict[tuple[MoveId, str], int] = {}
        self._not_before: dict[tuple[MoveId, str], float] = {}
        self._troubles: dict[MoveId, str] = {}
        self._looked: tuple[tuple[str, ...], ...] = ()
        self._busy = False
        self._boot_id = ""
        self.suspended: frozenset[TaskId] = frozenset()

    @property
    def busy(self) -> bool:
        """Whether a step is under way, so that a look now and then pays."""
        return self._busy

    def moved(self) -> bool:
        """Whether a file of a move's record came since the last step."""
        return self.records.signature() != self._looked

    def fetched(self, wanted: Mapping[TaskId, WantedTask] | None) -> dict[TaskId, core.Fetched]:
        """What came of bringing the images that tasks are to begin from."""
        if not any(each.image for each in (wanted or {}).values()):
            return {}
        return fetches.fetched(wanted or {}, self.records.load())

    def is_saving(self, task: TaskId) -> bool:
        """Whether the task is frozen only for the moment that a save takes."""
        records = self.records.load()
        return any(each.task == task and records[each].holds for each in records)

    def restores(self, wanted: Mapping[MoveId, WantedMove] | None) -> dict[TaskId, WantedTask]:
        """Tasks that are to be started now from an image that is here."""
        return moves.restores(wanted, self.records.load()) if wanted else {}

    def plan_of(
        self, wanted: Mapping[MoveId, WantedMove] | None, task: WantedTask
    ) -> dict[str, Any] | None:
        """What the init of a task needs to restore it; None: it is a program to be started."""
        if task.image is not None:
            here = fetches.move_id(task)
            told = self.records.load_one(here).results.get(moves.FETCH, moves.NOTHING)
            return self._plan_from(here, told.data)
        for each, move in (wanted or {}).items():
            if each.task == TaskId.of(task) and move.step == "restore":
                return self._plan_from(each, move.data)
        return None

    def _plan_from(self, move: MoveId, told: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "directory": str(self.records.path(move) / "image"),
            "criu": self.means.criu,
            "root": told.get("root"),
            "processes": told.get("processes"),
            "pids": told.get("pids"),
            "usage": told.get("usage", {}),
            "shared": list(self.means.shared_directories),
            **({"note": told["note"]} if told.get("note") else {}),
        }

    def step(
        self, wanted: Mapping[MoveId, WantedMove] | None, tasks: core.Snapshot
    ) -> tuple[MoveReport, ...]:
        """Do what is to be done now, and say how things stand after it.

        :param tasks: how the tasks stand; it was taken after all else was done to them

        :raises Unavailable: systemd cannot be reached; :raises OSError: nor the records
        """
        if wanted is not None:
            wanted = {**wanted, **fetches.wanted(tasks, self.tasks.node)}
        self._boot_id = tasks.boot_id
        self._looked = self.records.signature()
        asked = moves.to_suspend(tasks)
        self.suspended = frozenset()
        if not wanted and not self._looked and not asked and not self._held(tasks):
            self._busy = False
            return ()
        before = self._snapshot(wanted, tasks)
        instructions = moves.decide(before)
        for instruction in instructions:
            self._perform_safely(instruction)
        after = self._snapshot(wanted, tasks) if instructions else before
        saved = {each.task for each, record in after.records.items() if record.holds}
        self.suspended = frozenset(
            each
            for each in asked
            if each in after.held - saved and cgroup.is_frozen(self._cgroup(each))
        )
        self._busy = bool(after.alive or instructions or after.wanted)
        self._tidy(after)
        return _bounded(moves.reports(after))

    def _held(self, tasks: core.Snapshot) -> frozenset[TaskId]:
        return frozenset(
            each
            for each, unit in tasks.units.items()
            if unit.alive and cgroup.is_held(self._cgroup(each))
        )

    def _cgroup(self, task: TaskId) -> str:
        return self.launcher.cgroup(task) + "/task"

    def _snapshot(
        self, wanted: Mapping[MoveId, WantedMove] | None, tasks: core.Snapshot
    ) -> moves.Snapshot:
        alive = self.launcher.movers()  # before the records: see core
        return moves.Snapshot(
            wanted=wanted,
            records=self.records.load(),
            alive=alive,
            held=self._held(tasks),
            tasks=tasks,
            attempts=dict(self._attempts),
        )

    def _perform_safely(self, instruction: moves.Instruction) -> None:
        """One move's trouble is tried again; the others go on."""
        move = _move_of(instruction)
        try:
            self._perform(instruction)
        except Unavailable:
            raise
        except (OSError, LaunchError) as error:
            if move is None:
                log.error("%s: %s", instruction, error)
            elif self._troubles.get(move) != str(error):
                self._troubles[move] = str(error)
                log.error("move %s: %s", move, error)
        else:
            if move is not None:
                self._troubles.pop(move, None)

    def _perform(self, instruction: moves.Instruction) -> None:
        match instruction:
            case moves.Begin(move):
                self._begin(move)
            case moves.Run(move, step):
                self._run(move, step)
            case moves.Conclude(move, step, result):
                log.error("move %s: %s: %s", move, step, result.message)
                self.records.conclude(move, step, result)
            case moves.Undo(move, stop):
                self.records.undo(move, self._wall())
                if stop:
                    self.launcher.stop_mover(move)
            case moves.Remove(move):
                self.records.remove(move)
                log.info("move %s is over, and nothing of it is left", move)
            case moves.LetGo(move, thaw):
                self._let_go(move, thaw)
            case moves.Thaw(task):
                log.info("task %s goes on", task)
                cgroup.release(self._cgroup(task))
            case moves.Freeze(task):
                log.info("task %s is suspended", task)
                cgroup.hold(self._cgroup(task))

    def _begin(self, move: WantedMove) -> None:
        here, capability = MoveId.of(move), self.means.mover()
        if move.step in _WITH_CRIU and capability.get("trouble") == STILL:
            return  # a daemon that has just begun: soon it is known
        record = self.tasks.path(here.task)
        plan = durable.read(str(record), "wanted.json") or {}
        document = {
            "move": move.document(),
            "host": self.tasks.node,
            "shared_directories": list(self.means.shared_directories),
            "criu": self.means.criu,
            "capability": capability,
            "cgroup": self._cgroup(here.task),
            "record": str(record),
            "account": plan.get("account") or {},
            "runtime": self.tasks.runtime,
            "boot_id": self._boot_id,
        }
        self.records.write(here, document)

    def _let_go(self, move: MoveId, thaw: bool) -> None:
        if thaw:
            log.info("task %s goes on after a save that ended early", move.task)
            cgroup.release(self._cgroup(move.task))
        self.records.copied(move, self._wall())

    def _run(self, move: MoveId, step: str) -> None:
        key = (move, step)
        ready = step == "clean" or self._is_ready(move, step)
        if not ready or self._boot() < self._not_before.get(key, 0.0):
            return
        attempt = self._attempts.get(key, 0)
        self._attempts[key] = min(attempt + 1, COUNTED)
        self._not_before[key] = self._boot() + min(RETRY_FIRST * 2**attempt, RETRY_LONGEST)
        self.launcher.start_mover(move, step, str(self.records.path(move)))
        log.info("move %s: %s is begun", move, step)

    def _is_ready(self, move: MoveId, step: str) -> bool:
        plan = self.records.plan(move)
        return bool(plan) and plan["move"]["step"] == step

    def _tidy(self, after: moves.Snapshot) -> None:
        known = after.records.keys() | (after.wanted or {}).keys()
        for key in [each for each in self._attempts if each[0] not in known]:
            del self._attempts[key]
            self._not_before.pop(key, None)
        for move in [each for each in self._troubles if each not in known]:
            del self._troubles[move]


def _move_of(instruction: moves.Instruction) -> MoveId | None:
    match instruction:
        case moves.Thaw() | moves.Freeze():
            return None
        case moves.Begin(move):
            return MoveId.of(move)
        case _:
            return instruction.move


def _bounded(reports: tuple[MoveReport, ...]) -> tuple[MoveReport, ...]:
    """As many reports as fit; the others are told when these are over."""
    left = MOST_REPORTED
    found: list[MoveReport] = []
    for each in map(_tellable, reports):
        left -= len(json.dumps(each.document()))
        if left >= 0:
            found.append(each)
    return tuple(found)


def _tellable(report: MoveReport) -> MoveReport:
    """The report, or a failure in its place when it alone is more than one can say."""
    if len(json.dumps(report.document())) <= MOST_REPORTED:
        return report
    why = "the job has too many processes, threads and files to tell its new node of them"
    return replace(report, ok=False, message=why, touched=report.step == "dump", data={})
