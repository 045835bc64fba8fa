"""The node daemon (2003: the job module's *Monitor*): keeps this node's tasks as wanted.

Three loops share one :class:`_State`: one asks the manager what it wants, one reports, and one
(in a thread, as it waits for disks and D-Bus) brings the tasks in line.  Each may fail for as
long as it likes without the others noticing, and everything that must outlive this process is in
the records or in systemd.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Set
from dataclasses import replace
from pathlib import Path

import kcms
from kcms import service
from kcms.config import NodeConfig
from kcms.errors import ConfigError, Unavailable
from kcms.jobs.migration import MoveReport
from kcms.jobs.model import ABILITIES, CHECKPOINT, THROUGH_GATEWAY, NodeReport, TaskReport
from kcms.jobs.processes import Process
from kcms.node import capability, init, lease, listing, load, logues, standing
from kcms.node.agent import Agent
from kcms.node.capability import STILL
from kcms.node.core import FINAL, TaskId
from kcms.node.launcher import Systemd
from kcms.node.link import WAIT, Desired, Link, Outage, retrying
from kcms.node.movement import Means
from kcms.node.records import Records

log = logging.getLogger("kcms.node")

LOOK_INTERVAL = 0.2
"""Seconds between cheap looks at tasks that are not over."""

ENDING_INTERVAL = 0.004
ENDING = 0.2
"""Seconds between looks, and for how long, when a task's init says that it put an end on record:
its unit is over a few ms after that."""

GATHER = 0.05
"""Seconds that a report waits for more when nothing ended, and what is to be forgotten for other
work: a short task begins and ends in one report."""

FULL_INTERVAL = 5.0
"""Seconds between full comparisons when nothing seems to happen."""

RETRY_INTERVAL = 1.0
"""Seconds until what failed is tried again."""

FRESH = 60.0
"""Seconds after which the manager's word is too old to start anything on it."""


class _State:
    """What the loops know of each other's results; touched by the event loop only."""

    def __init__(self) -> None:
        self.word: Desired | None = None  # what the manager said last
        self.forget: set[TaskId] = set()
        self.forgotten: set[TaskId] = set()
        self.reports: tuple[TaskReport, ...] | None = None
        self.moves: tuple[MoveReport, ...] = ()
        self.heard = float("-inf")  # boot time of the manager's last word
        self.answered = False  # a report of ours, so that tasks find when we were heard
        self.work = asyncio.Event()
        self.poked = asyncio.Event()
        self.urgent = asyncio.Event()
        self.changed = asyncio.Event()

    def hear_wanted(self, word: Desired) -> None:
        """Take the manager's word, but for tasks that it told us to forget and that an answer
        under way still names: those ran."""
        self.forgotten &= word.tasks.keys()
        self.word = _without(word, self.forgotten)
        self.work.set()

    def hear_forget(self, forget: frozenset[TaskId]) -> None:
        self.forget |= forget

    def begin_forgetting(self) -> frozenset[TaskId]:
        """Take what is to be forgotten; from now on it is not wanted either."""
        told = {TaskId.of(each) for each in self.reports or () if each.phase in FINAL}
        now = frozenset(self.forget & told)
        self.forget.clear()
        self.forgotten |= now
        if self.word is not None:
            self.word = _without(self.word, now)
        return now

    def set_reports(
        self, reports: tuple[TaskReport, ...], moves: tuple[MoveReport, ...] = ()
    ) -> None:
        if (reports, moves) == (self.reports, self.moves):
            return
        before = {TaskId.of(each): each.phase for each in self.reports or ()}
        if moves != self.moves or any(
            each.phase in FINAL and before.get(TaskId.of(each)) != each.phase for each in reports
        ):
            self.urgent.set()
        self.reports, self.moves = reports, moves
        self.changed.set()

    def open_tasks(self) -> list[TaskId]:
        return [TaskId.of(each) for each in self.reports or () if each.phase not in FINAL]


def _without(word: Desired, tasks: Set[TaskId]) -> Desired:
    wanted = {task: each for task, each in word.tasks.items() if task not in tasks}
    return replace(word, tasks=wanted)


def _means(config: NodeConfig) -> Means:
    return Means(
        criu=config.criu,
        shared_directories=tuple(config.shared_directories),
        mover=lambda: capability.mover(config),
    )


def abilities(config: NodeConfig, mover: dict[str, str]) -> tuple[str, ...]:
    """What this node can do; ``mover`` is as of :func:`kcms.node.capability.mover`."""
    lacking = set() if config.gateway_user else set(THROUGH_GATEWAY)
    if mover.get("trouble", STILL) or not config.shared_directories:
        lacking.add(CHECKPOINT)
    return tuple(each for each in ABILITIES if each not in lacking)


def main(config: NodeConfig) -> int:
    """Run until SIGTERM.  :raises ConfigError: state directory or certificates are unusable"""
    lock = _only_one(Path(config.state_directory))
    try:
        runtime = config.runtime_directory
        records = Records(config.state_directory, config.cluster, config.host, runtime)
        records.session = {"directory": config.sessions_directory, "user": config.gateway_user}
        records.gateway = config.gateway_socket
        records.open()
        boot_id = init.boot_id()
        agent = Agent(
            records,
            Systemd(boot_id, config.allow_setuid),
            boot_id,
            means=_means(config),
            logue=logues.plan(config),
        )
        return service.serve(_Daemon(config, agent).run)
    except OSError as error:
        raise ConfigError(f"cannot use {config.state_directory}: {error.strerror}") from error
    finally:
        os.close(lock)


def _only_one(directory: Path) -> int:
    """The lock that keeps a second daemon from the same records, held by a descriptor."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"another node daemon uses {directory}; stop that one first") from error
    except OSError as error:
        raise ConfigError(f"cannot use {directory}: {error.strerror}") from error
    return descriptor


class _Daemon:
    def __init__(self, config: NodeConfig, agent: Agent) -> None:
        self.config = config
        self.agent = agent
        self.state = _State()
        self._silent = False
        self._patient = False
        self._link = Link(config)
        self._poked = float("-inf")

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        outage = Outage()
        async with self._link:
            loops = [
                asyncio.create_task(each)
                for each in (
                    self._work(),
                    retrying("ask the manager", self._fetch, outage, asyncio.sleep),
                    retrying("report to the manager", self._report, outage, asyncio.sleep),
                )
            ]
            self._listen()
            ready()
            waiter = asyncio.create_task(stop.wait())
            done, _ = await asyncio.wait([*loops, waiter], return_when=asyncio.FIRST_COMPLETED)
            for each in (*loops, waiter):
                each.cancel()
            await asyncio.gather(*loops, waiter, return_exceptions=True)
            for each in done:
                each.result()  # a loop that ended by itself failed: let systemd restart us

    def _listen(self) -> None:
        """Look at once when an init says that there is something to see."""
        descriptor = os.open(self.agent.records.poke, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

        def hear() -> None:
            os.read(descriptor, 4096)
            self._poked = time.monotonic()
            self.state.poked.set()

        asyncio.get_running_loop().add_reader(descriptor, hear)

    async def _fetch(self) -> None:
        """Ask; at first and after a failure without patience, as versions of a manager that was
        restarted mean nothing to us."""
        wait, self._patient = (WAIT if self._patient else 0.0), False
        seen = self.state.word.version if self.state.word else 0
        word = await self._link.desired(seen, wait)
        self._patient = True
        self.state.heard = init.boottime()
        self.state.hear_wanted(word)

    async def _report(self) -> None:
        """Report at once when something ended, soon when something changed, else when the interval
        is over."""
        changed, urgent = self.state.changed, self.state.urgent
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), self.config.report_interval)
            await asyncio.wait_for(urgent.wait(), GATHER)
        changed.clear()
        urgent.clear()
        if self.state.reports is None:
            return
        try:
            reports, moves = self.state.reports, self.state.moves
            processes = await asyncio.to_thread(self._processes, self.state.open_tasks())
            began = init.boottime()
            forget = await self._link.report(self._node_report(reports, moves, processes))
        except BaseException:
            changed.set()
            urgent.set()
            raise
        self._renew_leases(began)
        self.state.heard, self.state.answered = init.boottime(), True
        self.state.hear_forget(forget)
        if forget:
            asyncio.get_running_loop().call_later(GATHER, self.state.work.set)

    def _renew_leases(self, when: float) -> None:
        try:
            lease.write(self.config.runtime_directory, self.agent.boot_id, when)
        except OSError as error:
            log.error("cannot renew the leases of tasks: %s", error)

    def _processes(self, tasks: list[TaskId]) -> tuple[Process, ...]:
        now = listing.Times(time.time(), init.boottime())
        return listing.processes(((each, self.agent.launcher.cgroup(each)) for each in tasks), now)

    def _node_report(
        self,
        reports: tuple[TaskReport, ...],
        moves: tuple[MoveReport, ...],
        processes: tuple[Process, ...],
    ) -> NodeReport:
        mover = capability.mover(self.config)
        report = NodeReport(
            boot_id=self.agent.boot_id,
            release=kcms.__version__,
            slots=self.config.slots or load.cpu_count(),
            load=load.read_load(),
            tasks=reports,
            moves=standing.aged(moves, init.boottime()),
            mover=mover,
            abilities=abilities(self.config, mover),
        )
        return listing.with_processes(report, processes)

    async def _work(self) -> None:
        while True:
            self.state.work.clear()
            try:
                await self._step()
            except (Unavailable, OSError) as error:
                if not self._silent:
                    log.error("tasks cannot be looked after now, trying on: %s", error)
                self._silent = True
                await asyncio.sleep(1.0)
                continue
            self._silent = False
            await self._await_change()

    async def _step(self) -> None:
        state = self.state
        forget = state.begin_forgetting()
        may_start = state.answered and init.boottime() - state.heard < FRESH
        word = state.word
        reports = await asyncio.to_thread(
            self.agent.step,
            word.tasks if word else None,
            forget,
            may_start,
            word.store if word else None,
            word.moves if word else None,
        )
        state.set_reports(reports, self.agent.move_reports)

    async def _await_change(self) -> None:
        """Return when a task moved on, the manager wants something, or it is time anyway.

        Tasks are watched by looking, some 50 µs each: their records come without any event.
        """
        tasks = self.state.open_tasks()
        end = time.monotonic() + self._patience()
        while (left := end - time.monotonic()) > 0:
            looking = tasks or self.agent.is_moving
            await self._pause(min(left, LOOK_INTERVAL) if looking else left)
            if self.state.work.is_set() or await self._has_ended(tasks):
                return
            if await asyncio.to_thread(self.agent.moved, tasks):
                return

    async def _has_ended(self, tasks: list[TaskId]) -> bool:
        """Whether a task ended of which an init said a moment ago that it is about to."""
        while time.monotonic() - self._poked < ENDING and not self.state.work.is_set():
            ending = await asyncio.to_thread(self.agent.ending, tasks)
            if ending is None or ending:
                return bool(ending)
            await asyncio.sleep(ENDING_INTERVAL)
        return self.state.work.is_set()

    async def _pause(self, seconds: float) -> None:
        """Until there is work, an init said something since the last time, or the time is over."""
        waits = [asyncio.ensure_future(each.wait()) for each in (self.state.work, self.state.poked)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.state.poked.clear()
            for each in waits:
                each.cancel()

    def _patience(self) -> float:
        """Seconds until the next full comparison; a kill must begin and be pursued on time."""
        wanted = self.state.word.tasks if self.state.word else {}
        killing = any(
            each in wanted and wanted[each].want == "kill" for each in self.state.open_tasks()
        )
        if killing:
            return LOOK_INTERVAL
        hurry = self.agent.in_trouble or self.agent.is_moving
        soon = max(self.agent.next_end, LOOK_INTERVAL)
        return min(RETRY_INTERVAL if hurry else FULL_INTERVAL, soon)
