"""A connection to a manager for submissions alone: requests go out without waiting for answers,
which come in their order.

aiohttp's client would take longer for such a call than all else that a submission takes here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping

from kcms.config import ClusterAddress

ANSWER_LIMIT = 64 * 1024 * 1024
HEAD_LIMIT = 16 * 1024
IDLE_SECONDS = 60.0

Raw = tuple[int, str, bytes]
"""Status, type of the content, and the content."""


class Line:
    """One connection, made when it is needed.  :meth:`call` raises OSError when it breaks."""

    def __init__(self, cluster: ClusterAddress, context: ssl.SSLContext) -> None:
        self._cluster = cluster
        self._context = context
        self._talk: _Talk | None = None
        self._making = asyncio.Lock()

    async def connect(self) -> None:
        """:raises OSError: there is nobody, or not who it should be"""
        async with self._making:
            if self._talk is None or self._talk.is_over:
                where = self._cluster.address, self._cluster.port
                loop = asyncio.get_running_loop()
                _, self._talk = await loop.create_connection(_Talk, *where, ssl=self._context)

    async def call(self, path: str, headers: Mapping[str, str], body: bytes) -> Raw:
        """:raises OSError: the connection broke before the answer was there"""
        talk = self._talk
        if talk is None:
            raise ConnectionResetError("the connection is closed")
        if not all(each.isprintable() for each in headers.values()):
            raise ConnectionAbortedError("a header that cannot be sent")
        named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST {path} HTTP/1.1\r\nHost: manager\r\n{named}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        try:
            return await talk.ask(head.encode() + body)
        except asyncio.CancelledError:
            talk.break_off()  # the answer would be taken for that of the next
            raise

    def close(self) -> None:
        if self._talk is not None:
            self._talk.break_off()


class _Talk(asyncio.Protocol):
    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._awaited: deque[asyncio.Future[Raw]] = deque()
        self._buffer = b""
        self._timer: asyncio.TimerHandle | None = None
        self.is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_over = True
        self._stop_timer()
        for each in self._awaited:
            if not each.done():
                each.set_exception(ConnectionResetError("it broke the connection off"))

    def ask(self, request: bytes) -> asyncio.Future[Raw]:
        if self._transport is None or self.is_over:
            raise ConnectionResetError("the connection is closed")
        self._stop_timer()
        answer: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        self._awaited.append(answer)
        self._transport.write(request)
        return answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            while self._awaited and self._take_one():
                continue
            if self._buffer and not self._awaited:
                raise ValueError("more than was asked for")  # and so nobody's answer
        except ValueError:
            self.break_off()
        if not self._awaited and not self.is_over:
            loop = asyncio.get_running_loop()
            self._stop_timer()
            self._timer = loop.call_later(IDLE_SECONDS, self.break_off)

    def _take_one(self) -> bool:
        """Whether an answer was there as a whole.  :raises ValueError: this is no HTTP"""
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_LIMIT)
        if end < 0:
            if len(self._buffer) >= HEAD_LIMIT:
                raise ValueError("no head of an answer")
            return False
        status, kind, size = _head(self._buffer[:end].decode("latin-1"))
        end += 4
        if len(self._buffer) < end + size:
            return False
        body, self._buffer = self._buffer[end : end + size], self._buffer[end + size :]
        answer = self._awaited.popleft()
        if not answer.done():
            answer.set_result((status, kind, body))
        return True

    def break_off(self) -> None:
        self.is_over = True
        if self._transport is not None:
            self._transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _head(text: str) -> tuple[int, str, int]:
    first, *lines = text.split("\r\n")
    version, _, rest = first.partition(" ")
    fields = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    size = int(fields["content-length"]) if "content-length" in fields else -1
    if version != "HTTP/1.1" or not 0 <= size <= ANSWER_LIMIT:
        raise ValueError("no answer of a manager")
    return int(rest.partition(" ")[0]), fields.get("content-type", "").partition(";")[0], size
