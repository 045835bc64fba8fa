"""Has the files of users looked at by children that are those users, in bounded time and number.

Root opens nothing on a shared directory: whatever touches a user's files is a child of
:mod:`kcms.gateway.forks` that is that user.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from kcms.errors import Conflict, Forbidden, InvalidRequest, KcmsError, NotFound, Unavailable
from kcms.gateway.children import COMMAND, Children
from kcms.gateway.output import is_below
from kcms.gateway.users import User

log = logging.getLogger("kcms.gateway")

SECONDS = 15.0
AT_ONCE = 4  # checks of one user; one that hangs in a dead file server keeps its place
IN_ALL = 128  # of all users, each a process with a megabyte or two of its own


class Checker:
    """Checks files as their users.

    :param shared: directories below which executables must lie
    :param children: who asks, as the user
    :param seconds: how long one check may take; as long it waits for its turn before
    :param at_once: how many checks of one user there are
    :param in_all: how many of all users
    """

    def __init__(
        self,
        shared: Sequence[str],
        children: Children,
        seconds: float = SECONDS,
        at_once: int = AT_ONCE,
        in_all: int = IN_ALL,
    ) -> None:
        self.shared = list(shared)
        self.children = children
        self._seconds = seconds
        self._at_once = at_once
        self._turns: dict[int, asyncio.Semaphore] = {}
        self._all = asyncio.Semaphore(in_all)
        self._asking: set[asyncio.Task[bytes]] = set()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, shared: Sequence[str], seconds: float = SECONDS, command: Sequence[str] = COMMAND
    ) -> AsyncIterator[Checker]:
        """A checker with a server of its own, which is started at once.

        A server that cannot be started is not the end: each check tries again, and says so.
        """
        children = Children(command)
        with contextlib.suppress(Unavailable):
            await children.ready()
        try:
            yield cls(shared, children, seconds)
        finally:
            await children.close()

    async def check(self, user: User, files: Files) -> None:
        """:raises InvalidRequest: a file cannot be used  :raises Unavailable: no telling"""
        problem = await self._problem(user, files)
        if problem is not None:
            raise problem

    async def check_all(self, user: User, many: Sequence[Files]) -> list[KcmsError | None]:
        """As :meth:`check` of each, by one child; one that hangs holds the others up, and no more:
        then each is looked at by itself."""
        try:
            return await self._problems(user, many)
        except Unavailable as error:
            if len(many) == 1:
                return [error]
        return await asyncio.gather(*(self._problem(user, each) for each in many))

    async def _problem(self, user: User, files: Files) -> KcmsError | None:
        try:
            return (await self._problems(user, [files]))[0]
        except Unavailable as error:
            return error

    async def _problems(self, user: User, many: Sequence[Files]) -> list[KcmsError | None]:
        answer = await self._asked(user, {"shared": self.shared, "files": list(many)})
        found = answer.get("problems")
        if not isinstance(found, list) or len(found) != len(many):
            raise _failed(user, "no answer for each")
        return [None if each is None else InvalidRequest(str(each)) for each in found]

    async def tail(
        self, user: User, name: str, path: str, count: int, begin: int | None = None
    ) -> dict[str, Any]:
        """The end of a file as ``user`` may read it: ``size``, ``offset``, ``end`` and ``text``.

        :param name: what the file is, for the sentence of an error
        :param begin: the offset from which on it is wanted, instead of its end
        :raises NotFound: there is none  :raises Forbidden: the user may not read it
        :raises Conflict: it cannot be read  :raises Unavailable: no telling
        """
        request = {"tail": {"name": name, "path": path, "bytes": count, "from": begin}}
        try:
            return await self._asked(user, request)
        except NotFound as error:
            if is_below(path, self.shared):
                raise
            raise NotFound(
                f"{error} on this host; it is not on a shared directory, "
                "so only the node that ran the job may have it"
            ) from error

    async def sees(self, user: User, path: str) -> bool:
        """Whether every node has a file there, also by a link, as ``user`` may follow it.

        :raises Unavailable: no telling
        """
        if not self.shared or is_below(path, self.shared):
            return bool(self.shared)
        return bool((await self._asked(user, {"seen": path, "shared": self.shared})).get("seen"))

    async def _asked(self, user: User, request: dict[str, Any]) -> dict[str, Any]:
        """The answer of a child that has become ``user``, when it found no problem."""
        turns = self._turns.setdefault(user.uid, asyncio.Semaphore(self._at_once))
        try:
            async with asyncio.timeout(self._seconds):
                await self._places(turns)
        except TimeoutError as error:
            raise self._too_slow(user) from error
        asked = self.children.ask(user, json.dumps(request).encode(), self._seconds)
        child = asyncio.create_task(asked)
        self._asking.add(child)
        child.add_done_callback(lambda done: self._gone(done, turns))
        done, _ = await asyncio.wait({child}, timeout=self._seconds)
        if not done:
            raise self._too_slow(user)
        return _checked(child.result(), user)

    async def _places(self, turns: asyncio.Semaphore) -> None:
        """A place among those of the user, and one among all."""
        await turns.acquire()
        try:
            await self._all.acquire()
        except asyncio.CancelledError:
            turns.release()
            raise

    def _gone(self, child: asyncio.Task[bytes], turns: asyncio.Semaphore) -> None:
        """Give back the places only when the process is really gone: that is what bounds them."""
        self._asking.discard(child)
        self._all.release()
        turns.release()
        if not child.cancelled() and (error := child.exception()) is not None:
            log.error("%s", error)

    def _too_slow(self, user: User) -> Unavailable:
        return Unavailable(
            f"looking at the files of {user.name} took over {self._seconds:g} s; "
            "does the shared directory answer?"
        )


Files = Mapping[str, str | None]

PROBLEMS: dict[str, type[KcmsError]] = {
    each.code: each for each in (InvalidRequest, NotFound, Forbidden, Conflict)
}


def _checked(answer: bytes, user: User) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(answer)
        if "failed" in document:
            raise ValueError(document["failed"])
        problem = document.get("problem")
        kind = PROBLEMS[document.get("code", InvalidRequest.code)]
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise _failed(user, error if answer else "it ended without an answer") from error
    if problem is not None:
        raise kind(problem)
    return document


def _failed(user: User, why: object) -> Unavailable:
    log.error("check as %s: %s", user.name, why)
    return Unavailable(
        f"could not look at the files of {user.name} as {user.name}; "
        "the journal of kcms-gateway says why"
    )
