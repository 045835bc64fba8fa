"""Attaches people to interactive jobs: local ones to any job, and those of others to one here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
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
from kcms.jobs.members import Members
from kcms.jobs.model import task_name
from kcms.jobs.states import State

log = logging.getLogger("kcms.gateway")

KIND = "attach"
PROTOCOL = "kcms-attach"
LONGEST_WAIT = 10.0
PAUSE = 0.01  # seconds between the first questions to the manager, then twice as many each time
LONGEST_PAUSES = {State.PENDING.value: 1.0}
LONGEST_PAUSE = 0.25  # of one that has a place
SOCKET_SECONDS = 2.0  # until the init of a task that was just placed listens
LOOK = 0.02


class Waiting(KcmsError):
    """The job has not begun, for this reason; ask again (HTTP 409)."""

    code = "waiting"
    status = 409


class Starting(Waiting):
    """It has a place, and is being started there; ask again (HTTP 409)."""

    code = "starting"


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


class Attaching:
    """For local users: waits for the job, opens the stream, and hands the connection over."""

    def __init__(self, managers: Managers, peers: Peers) -> None:
        self._managers = managers
        self._peers = peers
        self._copies: set[asyncio.Task[None]] = set()

    async def attach(
        self, request: web.Request, speaks: Voice, cluster: ClusterAddress, number: int
    ) -> web.Response:
        """:raises Waiting: it has not begun in time  :raises Over: it will not any more"""
        if request.headers.get("Upgrade") != PROTOCOL:
            raise InvalidRequest(f"this call takes the connection over: say Upgrade: {PROTOCOL}")
        seconds = seconds_of(request.query)
        peer = await self._opened(request, speaks, cluster, number, seconds)
        try:
            user = divert(request, PROTOCOL)
        except BaseException:
            peer.abort()
            raise
        log.info("%s is attached to job %d", speaks.name, number)
        task = asyncio.create_task(join_user(user, peer))
        self._copies.add(task)
        task.add_done_callback(self._copies.discard)
        return web.Response()  # to a connection that the server has let go of

    async def _opened(
        self,
        request: web.Request,
        speaks: Voice,
        cluster: ClusterAddress,
        number: int,
        seconds: float,
    ) -> Pair:
        clock = asyncio.get_running_loop().time
        end, pause = clock() + seconds, PAUSE
        while True:
            answer = await self._managers.call(
                cluster, "POST", f"/v1/jobs/{number}/ticket", speaks.headers
            )
            standing = answer.document()
            state, reason = str(standing.get("state")), str(standing.get("reason"))
            if state in State.__members__ and State[state].final:
                raise Over(f"job {number} is over ({state})" + (f": {reason}" if reason else ""))
            if standing.get("ticket"):
                try:
                    return await self._open(standing)
                except Refused as error:
                    if error.code != Starting.code:
                        raise
            if request.transport is None or request.transport.is_closing():
                await self._give_up(speaks, cluster, number)
            if clock() >= end:
                raise (Waiting if state == State.PENDING.value else Starting)(
                    reason or "it is being started"
                )
            await asyncio.sleep(min(pause, max(end - clock(), 0)))
            pause = min(pause * 2, LONGEST_PAUSES.get(state, LONGEST_PAUSE))

    async def _open(self, standing: dict[str, Any]) -> Pair:
        row = Members(standing, "ticket")
        return await self._peers.open(
            row.text("node"), row.text("address"), row.whole("port"), KIND, row.text("ticket")
        )

    async def _give_up(self, speaks: Voice, cluster: ClusterAddress, number: int) -> None:
        """Whoever waited is gone: nobody will be attached to the job.

        :raises Unavailable: always
        """
        await self._managers.call(
            cluster, "POST", f"/v1/jobs/{number}/kill", speaks.headers, body={}
        )
        log.info("%s waits for job %d no more: killed", speaks.name, number)
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
