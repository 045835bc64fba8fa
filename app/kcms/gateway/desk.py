"""Takes submissions in, and hands on together what came in the same name meanwhile.

While one lot of a user's is being looked at and handed on, what comes next gathers for the one
after it: one look by one child and one call, whose jobs are one commit of the manager.  So many
submissions at once cost each of them little, and a single one waits for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import uuid
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

from kcms.config import ClusterAddress
from kcms.errors import KcmsError, ProtocolError, Unavailable
from kcms.gateway.checker import Checker
from kcms.gateway.managers import UNSUPPORTED, Answer, Managers, Refused
from kcms.gateway.submission import Submission
from kcms.gateway.users import User
from kcms.http import BULK, BULK_BYTES
from kcms.jobs.spec import given

log = logging.getLogger("kcms.gateway")

LOT_JOBS = 256  # so that nobody waits for a thousand of the same user's
PILE_BYTES = 16 * BULK_BYTES
"""Of one user's that wait, be those who sent them still there or not; what is more is refused."""

BULKS = 2
"""Calls of one user with many submissions that are looked into at once."""

TOO_MUCH = "too many submissions of this user wait; try again later"
GATHER = 30  # turns of the loop, some 10 µs each
NO_ANSWER = "the manager did not answer for each job"

Outcome = Answer | KcmsError


@dataclass
class _Handed:
    """One submission, as it goes on; with a key of our own if it has none, so that it can be
    repeated when the connection breaks, and still is one job."""

    submission: Submission
    row: bytes
    outcome: asyncio.Future[Outcome]

    @classmethod
    def of(cls, submission: Submission) -> _Handed:
        key = submission.key or f"gateway-{uuid.uuid4()}"
        row = json.dumps({"spec": given(submission.spec), "key": key}).encode()
        return cls(submission, row, asyncio.get_running_loop().create_future())


@dataclass
class _Pile:
    waiting: deque[_Handed] = field(default_factory=deque)
    size: int = 0

    def add(self, handed: list[_Handed]) -> None:
        """:raises Unavailable: too much waits already"""
        size = sum(len(each.row) for each in handed)
        if self.size and self.size + size > PILE_BYTES:
            raise Unavailable(TOO_MUCH)
        self.size += size
        self.waiting.extend(handed)

    def take(self) -> list[_Handed]:
        """As many as one call takes, the first in any case."""
        lot, size = [self.waiting.popleft()], 0
        while self.waiting and len(lot) < LOT_JOBS:
            size += len(lot[-1].row) + 2
            if size + len(self.waiting[0].row) > BULK_BYTES - 1024:
                break
            lot.append(self.waiting.popleft())
        self.size -= sum(len(each.row) for each in lot)
        return lot


@dataclass(frozen=True)
class Name:
    """In whose name something is handed on, and where to."""

    cluster: ClusterAddress
    user: User
    headers: tuple[tuple[str, str], ...] = field(repr=False)

    @classmethod
    def of(cls, cluster: ClusterAddress, user: User, headers: Mapping[str, str]) -> Name:
        return cls(cluster, user, tuple(headers.items()))


@dataclass
class _Queue:
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(BULKS))
    size: int = 0


class Turns:
    """Who has calls with many submissions has two of them looked into at once; the others wait as
    the bytes that they are, :data:`PILE_BYTES` of them."""

    def __init__(self) -> None:
        self._queues: dict[User, _Queue] = {}

    @contextlib.asynccontextmanager
    async def turn(self, user: User, size: int) -> AsyncIterator[None]:
        """:raises Unavailable: too much waits already"""
        queue = self._queues.setdefault(user, _Queue())
        if queue.size and queue.size + size > PILE_BYTES:
            raise Unavailable(TOO_MUCH)
        queue.size += size
        try:
            async with queue.turns:
                yield
        finally:
            queue.size -= size
            if not queue.size:
                self._queues.pop(user, None)


class Desk:
    """Looks at submissions, by ``checker``, and hands them on, by ``managers``."""

    def __init__(self, managers: Managers, checker: Checker) -> None:
        self._managers = managers
        self._checker = checker
        self._piles: dict[Name, _Pile] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def submit(self, name: Name, submissions: Sequence[Submission]) -> list[Outcome]:
        """What became of each: the manager's answer, or an error before it came so far.

        :raises Unavailable: too much of this user's waits
        """
        handed = [_Handed.of(each) for each in submissions]
        pile = self._piles.get(name)
        if pile is not None:
            pile.add(handed)
        else:
            pile = self._piles[name] = _Pile()
            pile.add(handed)
            task = asyncio.create_task(self._work(name, pile))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await asyncio.gather(*(each.outcome for each in handed))

    async def _work(self, name: Name, pile: _Pile) -> None:
        """Lot by lot, until nothing waits."""
        while pile.waiting:
            lot = pile.take()
            outcomes = await self._outcomes(name, lot)
            for each, outcome in zip(lot, outcomes, strict=True):
                if not each.outcome.done():
                    each.outcome.set_result(outcome)
            await _gathered(pile, len(lot))
        del self._piles[name]

    async def _outcomes(self, name: Name, lot: list[_Handed]) -> list[Outcome]:
        try:
            files = [each.submission.files() for each in lot]
            problems = await self._checker.check_all(name.user, files)
            good = [each for each, bad in zip(lot, problems, strict=True) if bad is None]
            answers = iter(await self._handed_on(name, good))
        except KcmsError as error:
            return [error] * len(lot)
        except Exception:
            log.exception("submissions of %s failed", name.user.name)
            return [KcmsError("the daemon failed; its journal says why")] * len(lot)
        return [next(answers) if bad is None else bad for bad in problems]

    async def _handed_on(self, name: Name, lot: list[_Handed]) -> Sequence[Outcome]:
        if len(lot) > 1:
            try:
                answer = await self._call(name, BULK, b'{"jobs": [%s]}' % b", ".join(_rows(lot)))
                return _each(answer, len(lot))
            except Refused as error:
                if error.status != UNSUPPORTED:
                    raise
        calls = (self._alone(name, each) for each in lot)
        return [*(await asyncio.gather(*calls))]

    async def _alone(self, name: Name, handed: _Handed) -> Outcome:
        try:
            return await self._call(name, "/v1/jobs", handed.row)
        except KcmsError as error:
            return error

    async def _call(self, name: Name, path: str, body: bytes) -> Answer:
        return await self._managers.hand_on(name.cluster, path, dict(name.headers), body)


async def _gathered(pile: _Pile, before: int) -> None:
    """Let those who were answered together come back together: a lot costs as much as a job."""
    for _ in range(GATHER if before > 1 else 0):
        if len(pile.waiting) >= before:
            return
        await asyncio.sleep(0)


def _rows(lot: Sequence[_Handed]) -> list[bytes]:
    return [each.row for each in lot]


def _each(answer: Answer, count: int) -> list[Outcome]:
    """The manager's answer to each of several."""
    rows = answer.document().get("jobs")
    if not isinstance(rows, list) or len(rows) != count:
        raise ProtocolError(NO_ANSWER)
    return [_one(row) for row in rows]


def _one(row: object) -> Outcome:
    try:
        status, content = int(row["status"]), row.get("job")  # type: ignore[index,attr-defined]
        document = {"error": row["error"]} if content is None else content  # type: ignore[index]
        return Answer(status, json.dumps(document).encode())
    except (KeyError, TypeError, ValueError, AttributeError):
        return ProtocolError(NO_ANSWER)
