"""Carries out what the core decides: records, units and signals of this node.  Synchronous; the
daemon calls it from one thread at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from kcms.errors import Forbidden, Unavailable
from kcms.jobs.migration import MoveReport, WantedMove
from kcms.jobs.model import TaskReport, WantedTask
from kcms.node import account, cgroup, core, init, signaller, signals
from kcms.node.core import TaskId
from kcms.node.launcher import Launcher, LaunchError
from kcms.node.move_records import MoveRecords
from kcms.node.movement import Means, Movement
from kcms.node.moves import MoveId
from kcms.node.records import Records

log = logging.getLogger("kcms.node")

RETRY_FIRST = 1.0
RETRY_LONGEST = 30.0
ENDING = frozenset({"exit"})
COUNTED = 16  # attempts at the most


@dataclass(frozen=True)
class Clock:
    """The clocks of this host: ``wall`` since the epoch, ``boot`` since the boot (seconds)."""

    wall: Callable[[], float] = time.time
    boot: Callable[[], float] = init.boottime


class Agent:
    """The tasks of this node.

    What is kept in memory only (attempts, troubles) may be lost at any moment without harm.
    """

    def __init__(
        self,
        records: Records,
        launcher: Launcher,
        boot_id: str,
        clock: Clock | None = None,
        means: Means | None = None,
        logue: Mapping[str, Any] | None = None,
    ) -> None:
        self.records = records
        self._logue = dict(logue) if logue else None
        self.launcher = launcher
        self.boot_id = boot_id
        self.clock = clock or Clock()
        self._movement = Movement(
            MoveRecords(records.directory.parent),
            records,
            launcher,
            means or Means(),
            (self.clock.wall, self.clock.boot),
        )
        self._movement.records.open()
        self._moves: Mapping[MoveId, WantedMove] | None = None
        self.move_reports: tuple[MoveReport, ...] = ()
        self._attempts: dict[TaskId, int] = {}
        self._not_before: dict[TaskId, float] = {}
        self._troubles: dict[TaskId, str] = {}
        self._looked: dict[TaskId, frozenset[str]] = {}
        self._launched: set[TaskId] = set()
        self._next_end: float | None = None

    def step(
        self,
        wanted: Mapping[TaskId, WantedTask] | None,
        forget: Set[TaskId] = frozenset(),
        may_start: bool = True,
        store: str | None = None,
        moves: Mapping[MoveId, WantedMove] | None = None,
    ) -> tuple[TaskReport, ...]:
        """Do what is to be done now, and say how things stand after it: of the tasks in what is
        returned, of the moves in ``move_reports``.

        :param store: the job store of the manager that wants this
        :param moves: its moves, of the same word of it as the tasks

        :raises Unavailable: systemd cannot be reached; :raises OSError: nor the records
        """
        self._moves = moves
        asked, wanted = wanted, self._with_restores(wanted)
        before = self._snapshot(wanted, forget, may_start, store)
        instructions = core.decide(before)
        self._launched.clear()
        failed: set[TaskId] = set()
        for instruction in instructions:
            task = _task_of(instruction)
            if task in failed or self._must_wait(instruction):
                continue
            if not self._perform_safely(task, instruction):
                failed.add(task)
        after = self._after(before, instructions) if instructions else before
        after = self._signalled(after)
        self._tidy(after, wanted or {})
        ends = (core.next_end(after), signals.next_end(after))
        self._next_end = min((each for each in ends if each is not None), default=None)
        word = moves if asked is not None else None
        self.move_reports = self._movement.step(word, replace(after, wanted=asked))
        return self._reports(after, wanted or {})

    def _with_restores(
        self, wanted: Mapping[TaskId, WantedTask] | None
    ) -> Mapping[TaskId, WantedTask] | None:
        """What is wanted, and the tasks that are to come from an image."""
        if wanted is None:
            return None
        return {**self._movement.restores(self._moves), **wanted}

    def _signalled(self, now: core.Snapshot) -> core.Snapshot:
        """Send the signals whose turn it is; how things stand then."""
        records = dict(now.records)
        for each in signals.decide(now):
            if self._perform_safely(each.task, each):
                records[each.task] = replace(records[each.task], signalled=each.then)
        return replace(now, records=records)

    @property
    def next_end(self) -> float:
        """Seconds until a task that runs has to be looked at, see :func:`core.next_end`."""
        if self._next_end is None:
            return float("inf")
        return max(self._next_end - self.clock.boot(), 0.0)

    @property
    def is_moving(self) -> bool:
        """Whether a step of a migration is under way here."""
        return self._movement.busy

    @property
    def in_trouble(self) -> bool:
        """Whether anything is waiting to be tried again."""
        return bool(self._troubles)

    def _snapshot(
        self,
        wanted: Mapping[TaskId, WantedTask] | None,
        forget: Set[TaskId],
        may_start: bool,
        store: str | None,
    ) -> core.Snapshot:
        self._looked = {each: self.records.signature(each) for each in self.records.tasks()}
        units = self.launcher.units()  # before the records: see core
        return core.Snapshot(
            wanted=wanted,
            records=self.records.load(),
            units=units,
            boot_id=self.boot_id,
            boottime=self.clock.boot(),
            may_start=may_start,
            forget=forget,
            attempts=dict(self._attempts),
            store=store,
            fetched=self._movement.fetched(wanted),
        )

    def _after(self, before: core.Snapshot, instructions: list[core.Instruction]) -> core.Snapshot:
        """How things stand after instructions; when a task only began, or was only forgotten, that
        is known without asking about all of them again."""
        if not all(isinstance(each, _SIMPLE) for each in instructions):
            store = before.store
            return self._snapshot(before.wanted, frozenset(), before.may_start, store)
        records, units = dict(before.records), dict(before.units)
        for task in {_task_of(each) for each in instructions}:
            self._looked[task] = self.records.signature(task)
            found = self.records.load_one(task)
            records.pop(task, None)
            if found is not None:
                records[task] = found
            if task in self._launched:
                units[task] = core.Unit(alive=True)
            elif found is None:
                units.pop(task, None)
        return replace(
            before,
            records=records,
            units=units,
            boottime=self.clock.boot(),
            forget=frozenset(),
            attempts=dict(self._attempts),
        )

    def _must_wait(self, instruction: core.Instruction) -> bool:
        """Whether this is a start again, sooner than its turn."""
        if not isinstance(instruction, core.Start):
            return False
        return self.clock.boot() < self._not_before.get(instruction.task, 0.0)

    def _perform_safely(self, task: TaskId, instruction: core.Instruction | signals.Send) -> bool:
        """One task's trouble is told in its report and tried again; the others go on."""
        try:
            if isinstance(instruction, signals.Send):
                self._send(instruction, self._program_cgroup(task))
            else:
                self._perform(instruction)
        except Unavailable:
            raise
        except (OSError, LaunchError) as error:
            text = error.message if isinstance(error, LaunchError) else _disk_text(error)
            if self._troubles.get(task) != text:
                log.error("task %s: %s", task, text)
            self._troubles[task] = text
            return False
        self._troubles.pop(task, None)
        return True

    def _perform(self, instruction: core.Instruction) -> None:
        match instruction:
            case core.Prepare(wanted, refusal, cause):
                self._prepare(wanted, refusal, cause)
            case core.Start(task, reset):
                self._start(task, reset)
            case core.Refuse(task, message):
                if self.records.refuse(task, message, self.clock.wall()):
                    log.warning("task %s is refused: %s", task, message)
            case core.Terminate(task, grace, cause):
                self._terminate(task, grace, cause)
            case core.KillNow(task):
                self._kill_now(task)
            case core.Break(task):
                log.error("task %s does not end: its whole unit is stopped", task)
                self.launcher.stop(task)
            case core.Disown(task):
                log.error("task %s: its job store now wants another job of this name", task)
                self.records.disown(task, self.clock.wall())
            case core.Forget(task):
                self.launcher.reset(task)
                self.records.forget(task)

    def _prepare(self, wanted: WantedTask, refusal: str | None, cause: str) -> None:
        found = None
        if refusal is None:
            try:
                found = account.resolve(wanted, self.records.node)
            except Forbidden as error:
                refusal = error.message
        if refusal is not None:
            log.warning("task %s is refused: %s", TaskId.of(wanted), refusal)
        plan = self._movement.plan_of(self._moves, wanted)
        now = self.clock.wall()
        self.records.prepare(wanted, found, refusal, now, plan, self._logue, cause)

    def _start(self, task: TaskId, reset: bool) -> None:
        if not self.records.may_start(task):
            return  # the record that was just made is one of a refusal
        if reset:
            self.launcher.reset(task)
        attempt = self._attempts.get(task, 0)
        self._not_before[task] = self.clock.boot() + min(RETRY_FIRST * 2**attempt, RETRY_LONGEST)
        self._attempts[task] = min(attempt + 1, COUNTED)
        self.launcher.start(task, str(self.records.path(task)))
        self._launched.add(task)
        log.info("task %s is started", task)

    def _terminate(self, task: TaskId, grace: float, cause: str) -> None:
        path = self._program_cgroup(task)
        held = cgroup.is_held(path) and not self._movement.is_saving(task)
        still = held or self.records.is_restoring(task)
        deadline = self.clock.boot() + (0.0 if still else max(grace, 0.0))
        kill = core.Kill(self.boot_id, deadline, cause=cause)
        self.records.write_kill(task, kill, 0)
        if still:
            return  # not one instruction of it may run any more: SIGKILL follows at once
        told = cgroup.terminate(path)
        why = f"its {cause} is reached: " if cause else ""
        log.info("task %s: %sSIGTERM to %d processes, SIGKILL after %g s", task, why, told, grace)

    def _kill_now(self, task: TaskId) -> None:
        """SIGKILL; the first time, count whom it meets and put that on record before."""
        path = self._program_cgroup(task)
        kill = self.records.kill_of(task)
        if kill is not None and kill.killed_at is None:
            alive = len(cgroup.pids(path))
            now = replace(kill, killed_at=self.clock.boot())
            self.records.write_kill(task, now, alive)
            log.info("task %s: SIGKILL to %d processes", task, alive)
        cgroup.kill(path)

    def _send(self, told: signals.Send, path: str) -> None:
        """Ends may come twice, and go before the record loses them; a signal comes after the
        record has it, so that it is never sent again, whoever dies."""
        for ending in told.due:
            if signaller.end(path, ending):
                log.info("task %s: SIGKILL to process %d", told.task, ending.pid)
        self.records.write_signals(told.task, told.then)
        for each in told.signals:
            count = signaller.send(path, each)
            log.info("task %s: signal %s to %d processes", told.task, each.name, count)

    def _program_cgroup(self, task: TaskId) -> str:
        return self.launcher.cgroup(task) + "/task"

    def _tidy(self, after: core.Snapshot, wanted: Mapping[TaskId, WantedTask]) -> None:
        known = after.records.keys() | wanted.keys()
        for memory in (self._attempts, self._not_before, self._troubles):
            for task in [each for each in memory if each not in known]:
                del memory[task]

    def _reports(
        self, after: core.Snapshot, wanted: Mapping[TaskId, WantedTask]
    ) -> tuple[TaskReport, ...]:
        told = core.reports(after)
        known = {TaskId.of(each) for each in told}
        stuck = [each for each in self._troubles if each in wanted and each not in known]
        return (
            *(self._with_state(each) for each in told),
            *(
                TaskReport(*each[:3], "launching", message=self._troubles[each], store=each.store)
                for each in stuck
            ),
        )

    def _with_state(self, report: TaskReport) -> TaskReport:
        task = TaskId.of(report)
        if task in self._movement.suspended:
            report = replace(report, suspended=True)
        trouble = self._troubles.get(task, "")
        return replace(report, message=trouble) if trouble and not report.message else report

    def ending(self, tasks: Iterable[TaskId]) -> bool | None:
        """Whether one of these tasks whose end is on record has an empty unit now; None when the
        end of none is on record."""
        there = [each for each in tasks if self.records.signature(each) >= ENDING]
        empty = any(not cgroup.populated(self.launcher.cgroup(each)) for each in there)
        return empty if there else None

    def moved(self, tasks: Iterable[TaskId]) -> bool:
        """Whether one of these tasks, open when last looked at, may be further now.

        A few file reads a task.  One whose unit is empty is about to end, or to begin; one that has
        only its end on record has not ended until its unit is empty.
        """
        return self._movement.moved() or any(
            self.records.signature(each) - ENDING != self._looked[each] - ENDING
            or not cgroup.populated(self.launcher.cgroup(each))
            for each in tasks
            if each in self._looked
        )


_SIMPLE = (core.Prepare, core.Start, core.Forget)


def _task_of(instruction: core.Instruction) -> TaskId:
    if isinstance(instruction, core.Prepare):
        return TaskId.of(instruction.wanted)
    return instruction.task


def _disk_text(error: OSError) -> str:
    where = f" {error.filename}" if error.filename else ""
    return f"cannot keep the node's record of the task{where}: {error.strerror}"
