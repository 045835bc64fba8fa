"""The door before the application: how many connections a user may hold, and for how long idle.

Every local user may connect, so without a bound one of them could hold all descriptors of the
gateway and keep everybody else out.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable

from aiohttp import web

from kcms.http import error_response

CONNECTIONS = 32  # of one uid
QUIET_SECONDS = 10.0  # without a request under way
BODY_SECONDS = 10.0  # for the whole body of a request

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def uid_of(channel: socket.socket) -> int:
    """The uid of the process at the other end, as the kernel recorded it when it connected."""
    credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("iII", credentials)
    return int(uid)


class Door:
    """Makes the protocol of each connection: a guard, and behind it one of ``server``'s.

    :param connections: how many one uid may hold; what is more is told so and closed at once
    :param quiet: seconds after which a connection without a request under way is closed
    """

    def __init__(
        self,
        server: Callable[[], asyncio.Protocol],
        connections: int = CONNECTIONS,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self.server = server
        self.connections = connections
        self.quiet = quiet
        self.held: Counter[int] = Counter()

    def __call__(self) -> Guard:
        return Guard(self)


class Guard(asyncio.Protocol):
    """One connection; all it carries goes on to the server's protocol."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._inner: asyncio.Protocol | None = None
        self._uid = -1
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._unsent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._uid = uid_of(transport.get_extra_info("socket"))
        if self._door.held[self._uid] >= self._door.connections:
            transport.write(_too_many(self._uid, self._door.connections))
            transport.close()
            return
        self._door.held[self._uid] += 1
        self._transport = transport
        self._inner = self._door.server()
        self._inner.connection_made(transport)
        self.rest()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is None:
            return
        self.work()
        self._transport = None
        self._door.held[self._uid] -= 1
        self._door.held += Counter()  # drops the uids that hold none
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return None if self._inner is None else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def work(self) -> None:
        """A request is under way: the connection may take its time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def rest(self) -> None:
        """No request is under way: the next must begin in time."""
        self.work()
        if self._transport is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._door.quiet, self._too_quiet)

    def _too_quiet(self) -> None:
        assert self._transport is not None
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        if self._unsent and self._unsent != before:  # it still takes its answer
            self.rest()
        else:
            self._transport.abort()


@web.middleware
async def tell_guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell a connection's guard when a request begins and ends."""
    guard = request.transport.get_protocol() if request.transport is not None else None
    if not isinstance(guard, Guard):
        return await handler(request)
    guard.work()
    try:
        return await handler(request)
    finally:
        guard.rest()


@web.middleware
async def whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Have the whole body before anything is done about a request, or give the request up."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            await request.read()
    except TimeoutError:
        message = f"the request did not arrive whole within {BODY_SECONDS:g} s"
        answer = error_response(408, "timeout", message)
        answer.force_close()
        return answer
    return await handler(request)


def _too_many(uid: int, limit: int) -> bytes:
    message = f"uid {uid} has {limit} connections to this gateway open already; try again later"
    content = json.dumps({"error": {"code": "unavailable", "message": message}}).encode()
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + content
