"""Copies streams: between a local user and another gateway, and between that one and a job.

Between gateways, and from a gateway to a job, a stream goes in chunks (:mod:`kcms.attach.chunks`):
its mark at the end says that the user's side left for good.  A gateway that is stopped or killed,
and a network that is cut, leave no mark, so that whoever was attached may come again.  Buffers are
those of one connection each; a reader that does not read keeps the writer back, all the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable

from kcms.attach.chunks import END, Chunks, chunk

PART = 1 << 16
BUFFER = 1 << 16  # bytes that are read ahead, and as many that are not yet sent
FLUSH_SECONDS = 10.0
END_SECONDS = 5.0
"""For the other gateway to close after the mark: what it still sends is read until then, as it
could lose the mark by a reset."""

DEAD_SECONDS = 20
"""After which a host that does not answer is given up, be anything sent to it or not."""

_KEEPALIVE = {
    socket.TCP_KEEPIDLE: 5,
    socket.TCP_KEEPINTVL: 5,
    socket.TCP_KEEPCNT: 3,
    socket.TCP_USER_TIMEOUT: DEAD_SECONDS * 1000,
}


class Pair:
    """Both directions of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._gone = False
        writer.transport.set_write_buffer_limits(high=BUFFER)

    async def write(self, data: bytes) -> None:
        """:raises OSError: the connection is gone"""
        if data:
            self.writer.write(data)
            await self.writer.drain()

    def notice_death(self) -> None:
        """Have the kernel end the connection when the other host is gone without a word."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE.items():
            sock.setsockopt(socket.IPPROTO_TCP, option, value)

    async def flush(self) -> None:
        """Close, once everything is sent; what cannot be sent in time is dropped."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                self.writer.close()
                await self.writer.wait_closed()
                self._gone = True
        self.abort()

    def abort(self) -> None:
        """Close at once; nothing happens when it is closed."""
        if not self._gone:
            self._gone = True
            with contextlib.suppress(AttributeError):  # Python 3.11, of TLS that is closed already
                self.writer.transport.abort()


async def to_peer(user: Pair, peer: Pair) -> None:
    """A local user's bytes as chunks; when the user has left, the mark."""
    while data := await _of_user(user):
        await peer.write(chunk(data))
    await peer.write(END)


async def _of_user(user: Pair) -> bytes:
    """Nothing at the end, which is a reset when the user did not take all that was sent."""
    try:
        return await user.reader.read(PART)
    except ConnectionError:
        return b""


async def from_peer(peer: Pair, user: Pair) -> None:
    """Chunks as bytes for a local user, up to the end; what a user who left cannot take is
    dropped, for the other gateway to go on until it has read the mark."""
    chunks, there = Chunks(), True
    while not chunks.ended and (data := await peer.reader.read(PART)):
        content = chunks.feed(data)
        try:
            if there:
                await user.write(content)
        except OSError:
            there = False


async def verbatim(source: Pair, target: Pair) -> None:
    while data := await source.reader.read(PART):
        await target.write(data)


async def both(one: Pair, other: Pair, *ways: Awaitable[None]) -> None:
    """Copy both ways until one is over; then close both connections."""
    tasks = [asyncio.ensure_future(each) for each in ways]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(one.flush(), other.flush())
    finally:
        for each in tasks:
            each.cancel()
        for pair in (one, other):
            pair.abort()


async def join_user(user: Pair, peer: Pair) -> None:
    """A local user and another gateway."""
    incoming = asyncio.create_task(from_peer(peer, user))

    async def outgoing() -> None:
        await to_peer(user, peer)
        await asyncio.wait([incoming], timeout=END_SECONDS)

    await both(user, peer, outgoing(), incoming)


async def join_job(peer: Pair, job: Pair) -> None:
    """Another gateway and a job of this host, which both speak in chunks."""
    await both(peer, job, verbatim(peer, job), verbatim(job, peer))
