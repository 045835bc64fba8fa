"""A fast way for the one request that comes by the thousand, in front of aiohttp's server.

A connection that sends nothing but plain requests to one path is served here: a few µs each to take
apart, and as many at once as were sent ahead (HTTP pipelining), answered in their order; aiohttp
takes ten times as long, and one after another.  At the first request that is in any way another
(another path, a header not known here, a body in chunks) the connection is aiohttp's for good, from
that request on.  So there is one parser for every request, and this one takes nothing but

    POST PATH HTTP/1.1, Content-Length, and headers that are named or mean nothing to us
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from kcms import door
from kcms.http import BULK_BYTES, Handler, errors_as_json, most_bytes

AT_ONCE = 64
"""Requests of one connection under way."""

BYTES_AT_ONCE = BULK_BYTES
"""Of their bodies; the first is taken in any case."""

AHEAD = 64 * 1024
"""Bytes that wait behind those under way, unless they are part of the next one."""

FIRST_LIMIT = 100
HEAD_LIMIT = 4096
WHOLE_SECONDS = 1.0
"""Seconds that a request may take to arrive whole; a slower one is aiohttp's."""

IGNORED = frozenset({"host", "user-agent", "accept", "accept-encoding", "content-type"})
REASONS = {200: "OK", 201: "Created", 202: "Accepted"}


@dataclass(frozen=True)
class Plain:
    """A request, of which handlers use what a ``web.Request`` has as well."""

    method: str
    path: str
    transport: asyncio.Transport
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)

    async def read(self) -> bytes:
        return self.body


@dataclass(frozen=True)
class Road:
    """Which requests are served, and by whom.

    :param handlers: of each path
    :param known: headers that the handlers want, as they spell them
    """

    handlers: Mapping[str, Handler]
    known: Sequence[str]

    @functools.cached_property
    def names(self) -> dict[str, str]:
        return {name.lower(): name for name in self.known}

    @functools.cached_property
    def firsts(self) -> dict[bytes, str]:
        """The first line of each path's requests."""
        return {f"POST {path} HTTP/1.1".encode(): path for path in self.handlers}


class NotPlain(Exception):
    """A request that is to be served by aiohttp."""


class Front:
    """Makes the protocol of each connection, behind a guard; ``server`` makes what serves one that
    is not plain."""

    def __init__(self, road: Road, server: Callable[[], asyncio.Protocol]) -> None:
        self.road = road
        self.server = server
        self._open: set[Express] = set()
        self._empty = asyncio.Event()

    def __call__(self) -> Express:
        return Express(self)

    def join(self, one: Express) -> None:
        self._open.add(one)
        self._empty.clear()

    def leave(self, one: Express) -> None:
        self._open.discard(one)
        if not self._open:
            self._empty.set()

    async def close(self, seconds: float) -> None:
        """Close every connection once what is under way is answered and the other end has that, or
        so many seconds are over; those that are aiohttp's are closed by it."""
        for each in list(self._open):
            each.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._open:
                    await self._empty.wait()
        for each in list(self._open):
            each.break_off()


class Express(door.Careful):
    """One connection, until it is aiohttp's."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._road = front.road
        self._transport: asyncio.Transport | None = None
        self._guard: door.Guard | None = None
        self._buffer = b""
        self._under_way: deque[tuple[asyncio.Task[bytes], int]] = deque()
        self._bytes = 0  # of the bodies under way
        self._is_plain = True
        self._waits = False  # a whole request, for others to be over
        self._full = False  # the other end takes no answers
        self._ended = False  # it sends no more
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._guard = transport, door.guard_of(transport)
        self._front.join(self)

    def close(self) -> None:
        self._ended, self._is_plain = True, False
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._front.leave(self)
        self._transport = self._guard = None
        self._stop_timer()

    @property
    def keeps_up(self) -> bool:
        """Whether what comes next is of use: it is begun at once, or is part of what is."""
        blocked = self._full or self._waits or (self._under_way and not self._is_plain)
        return not blocked or len(self._buffer) <= AHEAD

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._go_on()

    def eof_received(self) -> bool | None:
        self._ended = True
        return bool(self._under_way)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._go_on()
        self._have_more()

    def _have_more(self) -> None:
        if self._guard is not None:
            self._guard.more()

    def _go_on(self) -> None:
        """Begin what has arrived, as far as there is room, and see how to go on."""
        if self._transport is None:
            return
        self._begin(self._transport)
        if self._under_way:
            self._stop_timer()
        elif self._full and self._is_plain and self._buffer:
            self._stop_timer()  # it goes on once the other end has taken what it was answered
        elif self._ended:
            self._transport.close()
        elif not self._is_plain:
            self._hand_over()
        elif self._buffer and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(WHOLE_SECONDS, self._hand_over)

    def _begin(self, transport: asyncio.Transport) -> None:
        at = 0
        self._waits = False
        while self._is_plain and not self._full:
            try:
                found = parsed(self._road, self._buffer, at)
            except NotPlain:
                self._is_plain = False
                break
            if found is None:
                break
            path, headers, body, end = found
            self._waits = not self._has_room(len(body))
            if self._waits:
                break
            at = end
            self._start(Plain("POST", path, transport, headers, body))
        self._buffer = self._buffer[at:]

    def _has_room(self, size: int) -> bool:
        count = len(self._under_way)
        return not count or (count < AT_ONCE and self._bytes + size <= BYTES_AT_ONCE)

    def _start(self, request: Plain) -> None:
        if not self._under_way and self._guard is not None:
            self._guard.work()
        task = asyncio.create_task(self._answer(request))
        self._under_way.append((task, len(request.body)))
        self._bytes += len(request.body)
        task.add_done_callback(self._answered)

    async def _answer(self, request: Plain) -> bytes:
        response = await errors_as_json(request, self._road.handlers[request.path])
        assert isinstance(response, web.Response)
        body = response.body
        assert isinstance(body, bytes)
        reason = REASONS.get(response.status, "Error")
        head = (
            f"HTTP/1.1 {response.status} {reason}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _answered(self, _task: asyncio.Task[bytes]) -> None:
        """Write every answer whose turn it is."""
        ready = []
        while self._under_way and self._under_way[0][0].done():
            task, size = self._under_way.popleft()
            self._bytes -= size
            if task.cancelled() or task.exception() is not None:
                self.break_off()
                return
            ready.append(task.result())
        if not ready or self._transport is None:
            return
        self._transport.write(b"".join(ready))
        if not self._under_way and self._guard is not None:
            self._guard.rest()
        self._go_on()
        self._have_more()

    def break_off(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _hand_over(self) -> None:
        """From here on the connection is aiohttp's."""
        self._stop_timer()
        self._front.leave(self)
        transport, guard = self._transport, self._guard
        self._transport = self._guard = None
        if transport is None or guard is None:
            return
        server = self._front.server()
        guard.pass_on(server, self._buffer)
        self._buffer = b""
        if self._full:
            server.pause_writing()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def parsed(road: Road, data: bytes, at: int) -> tuple[str, dict[str, str], bytes, int] | None:
    """The plain request that begins at an offset: path, headers, body, and where it ends; None when
    it is not there as a whole.  :raises NotPlain: it is another"""
    line = data.find(b"\r\n", at, at + FIRST_LIMIT)
    if line < 0:
        begun = data[at : at + FIRST_LIMIT]
        if any((first + b"\r").startswith(begun) for first in road.firsts):
            return None
        raise NotPlain
    path = road.firsts.get(data[at:line])
    if path is None:
        raise NotPlain
    end = data.find(b"\r\n\r\n", line, at + HEAD_LIMIT)
    if end < 0:
        if len(data) - at >= HEAD_LIMIT:
            raise NotPlain
        return None
    headers, size = _headers(road, path, data[line + 2 : end])
    end += 4
    if len(data) < end + size:
        return None
    return path, headers, data[end : end + size], end + size


def _headers(road: Road, path: str, head: bytes) -> tuple[dict[str, str], int]:
    """Those that the handler wants, and the length of the body."""
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError as error:
        raise NotPlain from error
    given: dict[str, str] = {}
    for line in text.split("\r\n"):
        name, colon, value = line.partition(":")
        name, value = name.lower(), value.strip(" \t")
        if not colon or not value.isprintable() or name in given:
            raise NotPlain
        given[name] = value
    size = _size(given.pop("content-length", ""), most_bytes(path))
    if given.pop("connection", "keep-alive").lower() != "keep-alive":
        raise NotPlain
    if not given.keys() <= IGNORED | road.names.keys():
        raise NotPlain
    return {road.names[name]: given[name] for name in road.names if name in given}, size


def _size(text: str, most: int) -> int:
    if not text.isdigit() or len(text) > 7 or int(text) > most:
        raise NotPlain
    return int(text)
