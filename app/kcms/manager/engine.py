"""Our own queue behind the manager's API: takes requests, decides, commits, then answers.

One loop handles whatever arrived while the last commit was being written, as one draft and one
commit (group commit).  Nothing is answered before it is durable; when the store refuses, every
request of that round is refused and the memory is as before.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from kcms.errors import KcmsError, Unavailable
from kcms.jobs.listed import ALL, Listed
from kcms.jobs.migration import WantedMove
from kcms.jobs.model import Job, NodeReport, WantedTask
from kcms.jobs.queue import followed_by
from kcms.manager import (
    attaching,
    balance,
    balance_told,
    checkpoints,
    core,
    holding,
    leaving,
    migrations,
    nodes,
    restarting,
    scheduling,
    signals,
    wanted,
)
from kcms.manager.accounting import Question
from kcms.manager.core import Caller
from kcms.manager.hosts import Hosts
from kcms.manager.memory import Draft, Memory, Rules, TaskKey
from kcms.manager.rows import Event
from kcms.manager.store import Query, Reader, Store

log = logging.getLogger("kcms.manager")

TICK = 1.0
"""Seconds between looks at the clock and the list of hosts."""

LONGEST_TICK = 5.0
"""Seconds counted for one tick at the most: longer than that, this process was not listening."""

PROCESSES_LIMIT = 10_000
"""Processes in one answer, at the most."""

Answer = TypeVar("Answer")
Decision = Callable[[Draft, float], Any]
ACTS: dict[str, Callable[[Draft, Caller, Job, float], Job]] = {
    "kill": core.kill,
    "hold": holding.hold,
    "release": holding.release,
    "suspend": holding.suspend,
    "resume": holding.resume,
    "requeue": holding.requeue,
}
OF_TASKS: dict[str, Callable[[Draft, Job, int | None, str, float], Job]] = {
    "checkpoint": checkpoints.ask,
    "restart": restarting.ask,
}
_Submitted = tuple[Job, bool] | KcmsError
Wanted = tuple[list[WantedTask], list[WantedMove]]


@dataclass
class Request:
    """A decision to be made, and where its answer is awaited."""

    decide: Decision
    answer: asyncio.Future[Any]


class Engine:
    """The jobs and nodes of one cluster.

    :param wall: seconds since the epoch, of a clock that may be set at any moment: it dates what
        happens and lets jobs begin that are to begin at a time, and decides nothing else
    """

    def __init__(
        self, store: Store, hosts: Hosts, rules: Rules, wall: Callable[[], float] = time.time
    ) -> None:
        self._wall = wall
        self._store = store
        self._hosts = hosts
        self._memory = Memory(
            store.cluster,
            rules,
            last_job=store.last_job(),
            store=store.id,
            unsure=store.unsure(),
        )
        active = store.active()
        for job in active:
            self._memory.adopt(job)
        self._memory.followed = store.followed({n for job in active for _, n in followed_by(job)})
        self._memory.drained = store.drained()
        self._memory.signals = store.signals()
        self._memory.litter = store.litter()
        self._memory.losses = store.losses()
        self._memory.past_moves.extend(store.past_moves())
        self._requests: asyncio.Queue[Request] = asyncio.Queue()
        self._writer = ThreadPoolExecutor(1, "store")
        self._lister = Reader(store.path, store.cluster)
        self._reading = ThreadPoolExecutor(1, "listing")
        self._versions: dict[str, int] = {}
        self._wanted: dict[str, Wanted] = {}
        self._moved: dict[str, asyncio.Event] = {}
        self._first_version = time.time_ns() // 1_000_000
        self._refused = False
        self._released = False
        self._foreign: dict[str, frozenset[str]] = {}

    @property
    def store_id(self) -> str:
        return self._memory.store

    async def run(self) -> None:
        """Serve requests until cancelled."""
        self._follow_hosts()
        await self._publish(self._memory.nodes)
        try:
            async with asyncio.TaskGroup() as both:  # the end of one is the end of the other
                both.create_task(self._tick())
                both.create_task(self._serve())
        finally:
            self._writer.shutdown()
            self._reading.shutdown()
            self._lister.close()

    async def _serve(self) -> None:
        while True:
            await self._round([await self._requests.get()])

    async def submit(
        self, caller: Caller, spec: dict[str, Any], key: str | None
    ) -> tuple[Job, bool]:
        """A durable job, and whether it is new (false: the key's job was there).

        :raises Conflict: the key's job was asked for with other fields
        """

        (answer,) = await self.submit_all(caller, [(spec, key)])
        if isinstance(answer, KcmsError):
            raise answer
        return answer

    async def submit_all(
        self, caller: Caller, asked: Sequence[tuple[dict[str, Any], str | None]]
    ) -> list[_Submitted]:
        """As :meth:`submit` of each, in one commit; what is refused keeps back none of the others.

        A key may come twice: the second time it is that of the job of the first.
        """

        def one(draft: Draft, now: float, spec: dict[str, Any], key: str | None) -> _Submitted:
            try:
                there = self._of_key(draft, caller.user, key) if key else None
                if there is not None and key:
                    return core.check_same(there, spec, key), False
                return core.submit(draft, caller, spec, key, now, self._store.job), True
            except KcmsError as error:
                return error

        def decide(draft: Draft, now: float) -> list[_Submitted]:
            return [one(draft, now, *each) for each in asked]

        made: list[_Submitted] = await self._ask(decide)
        return made

    def _of_key(self, draft: Draft, user: str, key: str) -> Job | None:
        number = self._store.of_key(user, key)
        if number is None:
            return draft.of_key(user, key)
        return draft.job(number) or self._store.job(number)

    async def kill(self, caller: Caller, number: int, task: int | None = None) -> Job:
        """A job, or one task of it, as its end is asked for.

        :raises NotFound: none the caller may see  :raises Conflict: it is over
        """
        if task is None:
            return await self.act(caller, number, "kill")

        def decide(draft: Draft, now: float) -> Job:
            job = self._seen(draft, caller, number, task)
            return core.kill_task(draft, caller, job, task, now)

        answer: Job = await self._ask(decide)
        return answer

    async def act(self, caller: Caller, number: int, act: str, check: bool = False) -> Job:
        """Do one of :data:`ACTS` to a job, which is as it is then; with ``check`` as it would be,
        and nothing is done.

        :raises NotFound: none the caller may see  :raises Conflict: it cannot be done now
        :raises Forbidden: what root did only root undoes
        """
        change = ACTS[act]

        def decide(draft: Draft, now: float) -> Job:
            job = self._seen(draft, caller, number)
            return change(Draft(draft.base) if check else draft, caller, job, now)

        answer: Job = await self._ask(decide)
        return answer

    async def act_on_tasks(
        self, caller: Caller, number: int, act: str, task: int | None, check: bool = False
    ) -> Job:
        """Do one of :data:`OF_TASKS` to every task of a job that runs, or to one; the job as it is
        then, or with ``check`` as it would be.

        :raises NotFound: no such job or task that the caller may see
        :raises Conflict: it cannot be done now
        """
        change = OF_TASKS[act]

        def decide(draft: Draft, now: float) -> Job:
            job = self._seen(draft, caller, number, task)
            return change(Draft(draft.base) if check else draft, job, task, caller.user, now)

        answer: Job = await self._ask(decide)
        return answer

    async def signal(
        self, caller: Caller, number: int, asked: signals.Asked, check: bool = False
    ) -> Job:
        """The job, once a signal to it is given; with ``check`` only to see whether it could be.

        :raises NotFound: no such job, task or process that the caller may see
        :raises Conflict: it cannot be given now
        """

        def decide(draft: Draft, now: float) -> Job:
            job = self._seen(draft, caller, number)
            there = Draft(draft.base) if check else draft
            return signals.ask(there, job, asked, caller.user, now)

        answer: Job = await self._ask(decide)
        return answer

    async def migrate(
        self, caller: Caller, number: int, node: str, check: bool, task: int | None = None
    ) -> Job:
        """The job as it, or a task of it, begins to move to ``node``; with ``check`` only to see
        whether it could.

        :raises NotFound: none the caller may see  :raises Conflict: it cannot be moved
        """

        def decide(draft: Draft, now: float) -> Job:
            job = self._seen(draft, caller, number, task)
            return migrations.ask(draft, job, node, caller.user, check, now, task)

        answer: Job = await self._ask(decide)
        return answer

    def _seen(self, draft: Draft, caller: Caller, number: int, task: int | None = None) -> Job:
        """A job to be changed; nothing changes one that is over, so of its tasks one will do.

        :raises NotFound: none the caller may see
        """
        job = draft.job(number) or self._store.job(number, Listed(0, task))
        return core.check_sees(caller, job, number)

    async def job(self, caller: Caller, number: int, listed: Listed = ALL) -> Job:
        """The job; of one that is over only the tasks that ``listed`` asks for.

        :raises NotFound: none the caller may see
        """
        job = self._memory.jobs.get(number)
        if job is None:
            job = await self.aside(self._lister.job, number, listed)
        return core.check_sees(caller, job, number)

    async def aside(self, work: Callable[..., Answer], *given: Any) -> Answer:
        """Have what takes its time done in the thread that reads, and not in the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *given)

    def asked(self, number: int) -> None:
        """Somebody waits to be attached to an interactive job."""
        attaching.asked(self._memory, number)

    async def jobs(self, query: Query) -> list[Job]:
        return await self.aside(self._lister.listing, query)

    async def accounting(self, asked: Question) -> list[dict[str, Any]]:
        return await self.aside(self._lister.accounting, asked)

    async def nodes(self) -> list[dict[str, Any]]:
        return nodes.documents(self._memory)

    async def set_node_state(
        self, caller: Caller, name: str, state: str, reason: str, migrate: bool = False
    ) -> dict[str, Any]:
        """The node, out of use (``drain``, and to be empty with ``migrate``) or in use again
        (``resume``).

        :raises Forbidden: not the grid's root  :raises NotFound: no such node
        """
        core.check_root(caller, "drain and resume nodes")

        def decide(draft: Draft, now: float) -> None:
            nodes.set_state(draft, name, state, reason, caller.user, now, migrate)

        await self._ask(decide)
        return nodes.document(self._memory, name)

    async def leaving(self, caller: Caller, name: str) -> dict[str, Any]:
        """What leaves a node that is to be empty, and what stays: of the caller's, and for the
        grid's root of everybody's.  :raises NotFound: no such node"""
        return leaving.document(self._memory, name, None if caller.grid_root else caller.user)

    async def balance(self, caller: Caller) -> dict[str, Any]:
        """How the balancer sees the nodes, and what it decided; of jobs, the caller's."""
        return balance_told.document(self._memory, None if caller.grid_root else caller.user)

    async def processes(
        self, user: str | None, node: str | None, job: int | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """The processes of ``user`` on ``node`` and of ``job`` (None: any), and how many were left
        out."""
        return self._memory.processes.documents(user, node, PROCESSES_LIMIT, self._wall(), job)

    def job_of_pid(self, node: str, pid: int) -> int | None:
        """The job of a process that is alive on a node, as the node said last."""
        return self._memory.processes.job_of(node, pid)

    def task_of_pid(self, node: str, pid: int) -> int | None:
        """Which task of its job such a process is of."""
        found = self._memory.processes.alive(node, pid)
        return None if found is None else found.index

    async def report(self, name: str, said: NodeReport) -> list[TaskKey]:
        """What a node says; the tasks it may drop.  :raises Forbidden: no node of ours"""
        if name not in self._memory.nodes:
            self._follow_hosts()
        ours = {each.job for each in said.tasks if each.store == self.store_id}

        def decide(draft: Draft, now: float) -> list[TaskKey]:
            missing = self._store.missing(ours - self._memory.jobs.keys())
            over = functools.cache(self._store.job)  # one may have thousands of tasks here
            told = core.report(draft, name, said, now, missing, over)
            signals.follow(draft, name, said)
            return told

        answer: list[TaskKey] = await self._ask(decide)
        self._name_foreign(name)
        return answer

    def _name_foreign(self, name: str) -> None:
        """Say once of a node that it has tasks of another job store, and again when more come."""
        node = self._memory.nodes.get(name)
        foreign = {each.name: each.message for each in node.foreign} if node else {}
        found = frozenset(foreign)
        if found - self._foreign.get(name, frozenset()):
            names = (f"{each} ({foreign[each]})" if foreign[each] else each for each in foreign)
            log.warning(
                "%s has tasks that are not of our job store (%s), or of a newer copy of it, which "
                "are left alone: %s; when nobody needs them, run on %s for "
                "each: systemctl stop kcms-task-NAME.service, "
                "then remove its directory below the tasks of the node's state directory",
                *(name, self.store_id, ", ".join(names), name),
            )
        self._foreign[name] = found

    async def desired(self, name: str, seen: int, wait: float) -> tuple[int, Wanted]:
        """What is wanted of a node, once its version is not ``seen`` or ``wait`` seconds passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                while not self._released and self._version(name) == seen:
                    await self._moved.setdefault(name, asyncio.Event()).wait()
        return self._version(name), self._wanted_of(name)

    def _wanted_of(self, name: str) -> Wanted:
        tasks = wanted.wanted_tasks(self._memory, name)
        return tasks, wanted.wanted_moves(self._memory, name)

    async def end_waits(self) -> None:
        """Answer every held question now, as the manager is to end."""
        self._released = True
        for name in list(self._moved):
            self._wake(name)

    def _wake(self, name: str) -> None:
        """Let those go on that wait for another word for a node."""
        moved = self._moved.pop(name, None)
        if moved is not None:
            moved.set()

    def _version(self, name: str) -> int:
        return self._versions.get(name, self._first_version)

    async def _ask(self, decide: Decision) -> Any:
        request = Request(decide, asyncio.get_running_loop().create_future())
        self._requests.put_nowait(request)
        return await request.answer

    async def _round(self, requests: list[Request]) -> None:
        """Decide on everything that waits, make it durable, then answer."""
        while not self._requests.empty():
            requests.append(self._requests.get_nowait())
        now = self._wall()
        draft = Draft(self._memory)
        answers = [(each, self._decide(each, draft, now)) for each in requests]
        refusal = self._settle(draft, now) or await self._commit(draft)
        await self._publish(draft.concerned if refusal else draft.merge())
        for request, answer in answers:
            _resolve(request.answer, refusal if refusal and draft.dirty else answer)

    def _decide(self, request: Request, draft: Draft, now: float) -> Any:
        try:
            return request.decide(draft, now)
        except KcmsError as error:
            return error
        except Exception as error:
            log.exception("a request failed")
            return error

    def _settle(self, draft: Draft, now: float) -> Unavailable | None:
        try:
            scheduling.settle(draft, now)
            signals.tidy(draft)
        except Exception:
            log.exception("a round cannot be settled")
            return Unavailable("this cannot be decided: the manager's journal says why")
        return None

    async def _commit(self, draft: Draft) -> Unavailable | None:
        """Make a draft durable; the error when the store refuses."""
        if not draft.dirty:
            return None
        loop = asyncio.get_running_loop()
        jobs = list(draft.changed.values())
        tasks = {job.id: draft.changed_tasks(job) for job in jobs}
        try:
            await loop.run_in_executor(
                self._writer,
                self._store.commit,
                jobs,
                draft.events,
                draft.drains,
                tasks,
                draft.signals,
                draft.litter,
                draft.losses,
            )
        except Unavailable as error:
            if not self._refused:
                log.error("%s", error)
            self._refused = True
            return error
        except Exception:
            log.exception("a change cannot be stored")
            return Unavailable("this cannot be stored: the manager's journal says why")
        if self._refused:
            log.info("the job store takes changes again")
        self._refused = False
        for event in draft.events:
            _log(event)
        return None

    async def _publish(self, names: Iterable[str]) -> None:
        """Wake the nodes of which something else is wanted than before."""
        for name in list(names):
            now = self._wanted_of(name)
            if now != self._wanted.get(name):
                self._wanted[name] = now
                self._versions[name] = self._version(name) + 1
                self._wake(name)

    async def _tick(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            listened, last = min(now - last, LONGEST_TICK), now
            self._follow_hosts()
            with contextlib.suppress(Unavailable):  # a full disk; the engine says so once
                await self._ask(functools.partial(_passed, listened))

    def _follow_hosts(self) -> None:
        nodes.follow_hosts(self._memory, self._hosts.nodes(), self._wall())


def _passed(listened: float, draft: Draft, now: float) -> None:
    core.tick(draft, now, listened)
    attaching.tick(draft, now, listened)
    leaving.tick(draft, listened)
    balance.tick(draft, listened)


def _log(event: Event) -> None:
    """What an operator looks for in the journal; the store has every event."""
    told = event.document
    if event.kind == "migrate":
        words = (event.job, told["source"], told["target"], told["by"], told["phase"])
        log.info("job %d from %s to %s for %s: %s%s", *words, _after(told["message"]))
    elif event.kind == "checkpoint" and told.get("what") in ("made", "failed"):
        what = told["what"] + _after(told["message"])
        log.info("checkpoint of task %d of job %d: %s", told["task"], event.job, what)
    elif event.kind == "restart" and told.get("by"):
        log.info("job %d is to go on from its last checkpoint, for %s", event.job, told["by"])
    elif event.kind == "requeue":
        log.info("job %d goes back to the queue%s", event.job, _after(told.get("reason", "")))
    elif event.kind in ("drain", "resume"):
        what = event.kind + (" and move what runs there" if told.get("migrate") else "")
        log.info("%s for %s: %s%s", told["node"], told["by"], what, _after(told["reason"]))


def _after(text: str) -> str:
    return f": {text}" if text else ""


def _resolve(future: asyncio.Future[Any], answer: Any) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
