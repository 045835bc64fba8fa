"""The door before an application: how many connections one may hold, and for how long idle.

Whoever may connect could otherwise hold every descriptor of a daemon, and keep everybody else out.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable

from aiohttp import web

from kcms.errors import Unavailable
from kcms.http import error_response, most_bytes, too_large

BODY_SECONDS = 10.0  # for the whole body of a request
QUEUED = 64
"""Requests of one connection that may wait for their turn; what comes after them is not read yet.

aiohttp takes as many as it is sent, 1.7 kB for each of 40 bytes, whether answers are taken or not.
"""

SLICE = 8192  # bytes handed on at a time
MOST_WAITING = 1 << 20
"""Bytes of one connection that may wait to be handed on: some reads of a transport, at most 256 KiB
each, as reading pauses with the first."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Door:
    """Makes the protocol of each connection: a guard, and behind it one of ``server``'s.

    :param connections: how many one caller may hold; what is more is told so and closed at once
    :param quiet: seconds after which a connection without a request under way is closed; None for
        one that carries no requests
    :param most_streams: how many one caller may hold that carry no requests any more
    """

    def __init__(
        self,
        server: Callable[[], asyncio.Protocol],
        connections: int,
        quiet: float | None,
        most_streams: int = 0,
    ) -> None:
        self.server = server
        self.connections = connections
        self.quiet = quiet
        self.most_streams = most_streams
        self.held: Counter[Hashable] = Counter()
        self.streams: Counter[Hashable] = Counter()

    def __call__(self) -> Guard:
        return Guard(self)

    def who(self, transport: asyncio.Transport) -> Hashable:
        """Whose connection it is, as far as the bound goes."""
        raise NotImplementedError

    def refusal(self, who: Hashable) -> bytes:
        """The whole HTTP answer for one who holds too many."""
        raise NotImplementedError

    def leave(self, who: Hashable) -> None:
        _drop(self.held, who)


def _lost(server: asyncio.Protocol, exc: Exception | None) -> None:
    """Tell a server that its connection is gone.

    aiohttp 3.8 would begin a request that has just come all the same, and fail at it in a task of
    which nobody hears until it is collected as garbage.
    """
    waiter, task = getattr(server, "_waiter", None), getattr(server, "_task_handler", None)
    if task is not None and waiter is not None and waiter.done():
        task.cancel()
    server.connection_lost(exc)


def _drop(counts: Counter[Hashable], who: Hashable) -> None:
    counts[who] -= 1
    if not counts[who]:
        del counts[who]


class Careful(asyncio.Protocol):
    """A server that says itself whether it keeps up, and tells its guard when it does again."""

    @property
    def keeps_up(self) -> bool:
        raise NotImplementedError


class Guard(asyncio.Protocol):
    """One connection; all it carries goes on to the server's protocol."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._inner: asyncio.Protocol | None = None
        self._who: Hashable = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._unsent = 0
        self._waiting = b""
        self._paused = False
        self._diverted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._who = self._door.who(transport)
        if self._door.held[self._who] >= self._door.connections:
            transport.write(self._door.refusal(self._who))
            transport.close()
            return
        self._door.held[self._who] += 1
        self._transport = transport
        self._inner = self._door.server()
        self._inner.connection_made(transport)
        self.rest()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._inner is None:
            return
        self.work()
        self._transport = None
        self._leave()
        _lost(self._inner, exc)

    def _leave(self) -> None:
        if self._diverted:
            _drop(self._door.streams, self._who)
        else:
            self._door.leave(self._who)

    def divert(self, protocol: asyncio.Protocol, greeting: bytes) -> asyncio.Transport:
        """Let go of the server: from now on everything is for ``protocol``, once the other end
        has had the ``greeting``.

        :raises Unavailable: the caller has too many such connections
        """
        most = self._door.most_streams
        if self._door.streams[self._who] >= most:
            raise Unavailable(f"{self._who} has {most} streams open already; end some")
        if self._inner is None or self._transport is None:
            raise Unavailable("the connection is gone")
        self.work()
        transport, before = self._transport, self._inner
        self._leave()
        self._diverted = True
        self._door.streams[self._who] += 1
        self._inner = protocol
        rest, self._waiting = getattr(before, "_message_tail", b"") + self._waiting, b""
        before.transport = None  # type: ignore[attr-defined]  # which newer aiohttp would close
        _lost(before, None)
        protocol.connection_made(transport)
        transport.write(greeting)
        self._read_on()  # first, as from now on it is the protocol's to pause
        if rest:
            protocol.data_received(rest)
        return transport

    def pass_on(self, server: asyncio.Protocol, unread: bytes) -> None:
        """Let another protocol serve the connection from here on, beginning with what the one so
        far has got and not taken."""
        if self._transport is None:
            return
        self._inner = server
        server.connection_made(self._transport)
        self._waiting = unread + self._waiting
        asyncio.get_running_loop().call_soon(self._hand_on)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None and self._diverted:
            self._inner.data_received(data)
        elif self._inner is not None:
            self._waiting += data
            self._hand_on()

    def _hand_on(self) -> None:
        """Give the server what has come, as far as it keeps up with it."""
        if self._transport is None or self._inner is None or self._diverted:
            return
        while self._waiting and self._takes_more():
            part, self._waiting = self._waiting[:SLICE], self._waiting[SLICE:]
            self._inner.data_received(part)
        if len(self._waiting) > MOST_WAITING:
            self._transport.abort()
        elif self._waiting:
            self._transport.pause_reading()
            self._paused = True
        else:
            self._read_on()

    def _read_on(self) -> None:
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    def more(self) -> None:
        """The server has room for more again."""
        self._hand_on()

    def _takes_more(self) -> bool:
        """Whether the server begins what it reads; aiohttp's tells nobody.

        aiohttp keeps all that follows a request to upgrade, until that is answered.
        """
        if isinstance(self._inner, Careful):
            return self._inner.keeps_up
        queued = len(getattr(self._inner, "_messages", ()))
        return queued <= QUEUED and not getattr(self._inner, "_upgrade", False)

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
        quiet = self._door.quiet
        if self._transport is not None and not self._diverted and quiet is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(quiet, self._too_quiet)
            if self._waiting:
                loop.call_soon(self._hand_on)

    def _too_quiet(self) -> None:
        assert self._transport is not None
        before, self._unsent = self._unsent, self._transport.get_write_buffer_size()
        if self._unsent and self._unsent != before:  # it still takes its answer
            self.rest()
        else:
            self._transport.abort()


def guard_of(transport: asyncio.BaseTransport) -> Guard | None:
    """The guard of a connection, when it came by a door."""
    assert isinstance(transport, asyncio.Transport)
    guard = transport.get_protocol()
    return guard if isinstance(guard, Guard) else None


@web.middleware
async def tell_guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell a connection's guard when a request begins and ends."""
    guard = None if request.transport is None else guard_of(request.transport)
    if guard is None:
        return await handler(request)
    guard.work()
    try:
        return await handler(request)
    finally:
        guard.rest()


@web.middleware
async def whole_body(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Have the whole body before anything is done about a request, or give the request up."""
    if (request.content_length or 0) > most_bytes(request.path):
        return _too_large(request)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            size = len(await request.read())
    except TimeoutError:
        message = f"the request did not arrive whole within {BODY_SECONDS:g} s"
        answer = error_response(408, "timeout", message)
        answer.force_close()
        return answer
    return _too_large(request) if size > most_bytes(request.path) else await handler(request)


def _too_large(request: web.Request) -> web.Response:
    """The other end may not have sent all of it, so nothing else is taken from it."""
    answer = too_large(request.path)
    answer.force_close()
    return answer
