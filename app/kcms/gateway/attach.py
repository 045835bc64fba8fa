"""Attaches people to interactive jobs: local ones to any job, and those of others to one here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web

from kcms.config import ClusterAddress
from kcms.errors import InvalidRequest, KcmsError, ProtocolError, Unavailable
from kcms.gateway.door import divert
from kcms.gateway.managers import Managers, Refused
from kcms.gateway.peers import Peers, accept
from kcms.gateway.streams import Pair, join_job, join_user
from kcms.gateway.voice import Voice
from kcms.http import error_response
from kcms.jobs.members import Members
from kcms.jobs.model import task_name
from kcms.jobs.states import State

log = logging.getLogger("kcms.gateway")

KIND = "attach"
PROTOCOL = "kcms-attach"
LONGEST_WAIT = 10.0
PAUSE = 0.01  # seconds between the first questions to the manager, then twice as many each time
SOCKET_SECONDS = 2.0  # until the init of a task that was just placed listens
LOOK = 0.02


class Waiting(KcmsError):
    """The job has not begun, for this reason; ask again (HTTP 409)."""

    code = "waiting"
    status = 409
    longest_pause = 1.0


class Starting(Waiting):
    """It has a place, and is being started there; ask again (HTTP 409)."""

    code = "starting"
    longest_pause = 0.25


class Over(KcmsError):
    """The job is over (HTTP 409)."""

    code = "over"
    status = 409


def seconds_of(query: Mapping[str, str]) -> float:
    """How long to wait for the job's beginning.  :raises InvalidRequest: no such time"""
    text = query.get("wait", "0")
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 <= found <= LONGEST_WAIT:
        raise InvalidRequest(f"wait must be 0 to {LONGEST_WAIT:g} seconds, not {text!r:.60}")
    return found


def require_upgrade(request: web.Request, protocol: str = PROTOCOL) -> None:
    """:raises InvalidRequest: the request does not say that it takes its connection over"""
    options = ",".join(request.headers.getall("Connection", [])).lower().split(",")
    if request.headers.get("Upgrade") != protocol or "upgrade" not in map(str.strip, options):
        raise InvalidRequest(
            f"this call takes the connection over: say Connection: Upgrade, Upgrade: {protocol}"
        )


@dataclass(frozen=True)
class Wish:
    """Who wants to be attached to which job."""

    speaks: Voice
    cluster: ClusterAddress
    number: int


class Attaching:
    """For local users: waits for the job, opens the stream, and hands the connection over."""

    def __init__(self, managers: Managers, peers: Peers) -> None:
        self._managers = managers
        self._peers = peers
        self._copies: set[asyncio.Task[None]] = set()

    async def attach(
        self, request: web.Request, speaks: Voice, cluster: ClusterAddress, number: int
    ) -> web.Response:
        """The job's connection, or why not: of what follows nobody knows what it is meant for."""
        try:
            return await self._attached(request, Wish(speaks, cluster, number))
        except KcmsError as error:
            refusal = error_response(error.status, error.code, error.message)
            refusal.force_close()
            return refusal

    async def _attached(self, request: web.Request, wish: Wish) -> web.Response:
        """:raises Waiting: it has not begun in time  :raises Over: it will not any more"""
        require_upgrade(request)
        seconds = seconds_of(request.query)
        peer = await self._opened(request, wish, seconds)
        try:
            user = divert(request, PROTOCOL)
        except BaseException:
            peer.abort()
            raise
        log.info("%s is attached to job %d", wish.speaks.name, wish.number)
        task = asyncio.create_task(join_user(user, peer))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)
        return web.Response()  # to a connection that the server has let go of

    async def _opened(self, request: web.Request, wish: Wish, seconds: float) -> Pair:
        clock = asyncio.get_running_loop().time
        end, pause = clock() + seconds, PAUSE
        while True:
            try:
                return await self._asked(wish)
            except Waiting as error:
                waiting = error
            if request.transport is None or request.transport.is_closing():
                await self._give_up(wish)
            if clock() >= end:
                raise waiting
            await asyncio.sleep(min(pause, max(end - clock(), 0)))
            pause = min(pause * 2, waiting.longest_pause)

    async def _asked(self, wish: Wish) -> Pair:
        """The stream, if the job has a place now.

        :raises Waiting: it has none  :raises Over: and will have none
        """
        standing = await self._call(wish, "ticket")
        state, reason = str(standing.get("state")), str(standing.get("reason"))
        if state in State.__members__ and State[state].final:
            ended = f"job {wish.number} is over ({state})"
            raise Over(f"{ended}: {reason}" if reason else ended)
        if state == State.PENDING.value:
            raise Waiting(reason)
        if not standing.get("ticket"):
            raise Starting(reason)
        try:
            return await self._open(standing)
        except Refused as error:
            if error.code == Starting.code:
                raise Starting(reason or error.message) from error
            raise

    async def _call(self, wish: Wish, act: str) -> dict[str, Any]:
        path = f"/v1/jobs/{wish.number}/{act}"
        answer = await self._managers.call(wish.cluster, "POST", path, wish.speaks.headers, body={})
        return answer.document()

    async def _open(self, standing: dict[str, Any]) -> Pair:
        row = Members(standing, "ticket")
        return await self._peers.open(
            row.text("node"), row.text("address"), row.whole("port"), KIND, row.text("ticket")
        )

    async def _give_up(self, wish: Wish) -> None:
        """Whoever waited is gone: nobody will be attached to the job.

        :raises Unavailable: always
        """
        with contextlib.suppress(Refused):  # it may be over by now
            await self._call(wish, "kill")
            log.info("%s waits for job %d no more: killed", wish.speaks.name, wish.number)
        raise Unavailable("nobody waits for this answer")


def serving(sessions_directory: str) -> Callable[[Pair, Mapping[str, Any]], Any]:
    """Serves those whom other gateways attach to a job of this host."""

    async def serve(peer: Pair, claims: Mapping[str, Any]) -> None:
        try:
            job = await _session(Path(sessions_directory) / f"{_name(claims)}.sock")
        except ProtocolError as error:
            raise Unavailable(f"the manager's answer is no place of a task: {error}") from error
        try:
            await accept(peer)
        except BaseException:
            job.abort()
            raise
        await join_job(peer, job)

    return serve


def _name(claims: Mapping[str, Any]) -> str:
    """:raises ProtocolError: no task"""
    row = Members(dict(claims), "ticket")
    return task_name(row.whole("job"), row.whole("task"), row.whole("epoch"), row.store())


async def _session(path: Path) -> Pair:
    """:raises Starting: the task's init does not listen (yet)"""
    clock = asyncio.get_running_loop().time
    end = clock() + SOCKET_SECONDS
    while True:
        try:
            return Pair(*await asyncio.open_unix_connection(str(path)))
        except (FileNotFoundError, ConnectionRefusedError):
            if clock() >= end:
                raise Starting("it is being started") from None
        except OSError as error:
            raise Unavailable(f"the job's terminal cannot be reached: {error.strerror}") from error
        await asyncio.sleep(LOOK)
