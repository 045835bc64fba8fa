"""What a connection's guard keeps of what comes, before and after the connection is taken over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from kcms.door import MOST_WAITING, QUEUED, Door, Guard
from kcms.errors import InvalidRequest
from kcms.gateway.attach import require_upgrade

PLAIN = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
LIMIT = 1 << 16


class Wire(asyncio.Transport):
    """Carries nothing; knows whether it is read."""

    def __init__(self) -> None:
        super().__init__()
        self.read = True
        self.aborted = False
        self.written = b""

    def pause_reading(self) -> None:
        self.read = False

    def resume_reading(self) -> None:
        self.read = True

    def is_closing(self) -> bool:
        return self.aborted

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.aborted = True

    def write(self, data: Any) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return 0


class One(Door):
    def who(self, transport: asyncio.Transport) -> str:
        return "alice"


class Line:
    """A guard before aiohttp, whose answer waits for ``go``."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.wire = Wire()
        self.server = web.Server(self._answer)
        self.guard = Guard(One(self.server, 1, 60.0, most_streams=1))
        self.guard.connection_made(self.wire)
        self.reader = asyncio.StreamReader(LIMIT)

    async def _answer(self, _request: web.BaseRequest) -> web.Response:
        await self.go.wait()
        self.guard.rest()
        return web.Response()

    def divert(self) -> None:
        self.guard.divert(asyncio.StreamReaderProtocol(self.reader), b"over to you")

    def kept(self) -> int:
        inner = self.guard._inner
        return len(self.guard._waiting) + len(getattr(inner, "_message_tail", b""))


@pytest.fixture
async def line() -> AsyncIterator[Line]:
    made = Line()
    await asyncio.sleep(0)
    yield made
    made.guard.connection_lost(None)


async def test_who_takes_a_connection_over_is_the_one_who_pauses_it(line: Line) -> None:
    line.guard.data_received(PLAIN * 6000)
    assert not line.wire.read
    line.divert()
    assert len(line.reader._buffer) > 2 * LIMIT  # type: ignore[attr-defined]
    assert not line.wire.read
    await asyncio.sleep(0)
    assert not line.wire.read
    while len(line.reader._buffer) > LIMIT:  # type: ignore[attr-defined]
        await line.reader.read(LIMIT)
    assert line.wire.read
    line.guard.data_received(bytes(3 * LIMIT))
    assert not line.wire.read


async def test_one_that_was_paused_and_is_taken_over_is_read_again(line: Line) -> None:
    line.guard.data_received(PLAIN * (2 * QUEUED + 1000))
    assert not line.wire.read
    line.divert()
    assert line.wire.read


async def test_what_follows_an_upgrade_is_not_read_before_its_answer(line: Line) -> None:
    line.guard.data_received(UPGRADE + b"x" * 100)
    taken = 0
    while line.wire.read and taken < MOST_WAITING:
        line.guard.data_received(b"x" * 1000)
        taken += 1000
    assert taken == 1000
    assert line.kept() == 1100


async def test_what_is_sent_on_all_the_same_ends_the_connection(line: Line) -> None:
    line.guard.data_received(UPGRADE)
    for _ in range(MOST_WAITING // LIMIT + 1):
        assert not line.wire.aborted
        line.guard.data_received(bytes(LIMIT))
    assert line.wire.aborted


async def test_what_followed_the_upgrade_is_the_first_of_the_stream(line: Line) -> None:
    line.guard.data_received(UPGRADE + b"one ")
    line.guard.data_received(b"two ")
    line.divert()
    line.guard.data_received(b"three")
    assert line.wire.read
    async with asyncio.timeout(5):
        assert await line.reader.readexactly(13) == b"one two three"
    assert line.wire.written == b"over to you"


async def test_after_an_upgrade_that_is_answered_otherwise_requests_go_on(line: Line) -> None:
    line.guard.data_received(UPGRADE)
    line.guard.data_received(PLAIN)
    assert not line.wire.read
    line.go.set()
    async with asyncio.timeout(10):
        while line.wire.written.count(b"200 OK") < 2:
            await asyncio.sleep(0.01)
    assert line.wire.read


@pytest.mark.parametrize("diverted", [False, True])
async def test_a_request_that_comes_as_its_connection_goes_is_not_begun(
    line: Line, diverted: bool
) -> None:
    task = line.guard._inner._task_handler  # type: ignore[union-attr]
    await asyncio.sleep(0)  # it waits for a request
    line.guard.data_received(PLAIN)
    if diverted:
        line.divert()
    else:
        line.guard.connection_lost(None)
    assert await asyncio.gather(task, return_exceptions=True) == [None]


@pytest.mark.parametrize(
    ("connection", "good"),
    [("Upgrade", True), ("keep-alive, upgrade", True), ("keep-alive", False), (None, False)],
)
def test_who_takes_a_connection_over_says_so(connection: str | None, good: bool) -> None:
    headers = {"Upgrade": "kcms-attach"} | ({"Connection": connection} if connection else {})
    request = make_mocked_request("GET", "/v1/jobs/1/attach", headers)
    if good:
        require_upgrade(request)
    else:
        with pytest.raises(InvalidRequest, match="say Connection: Upgrade"):
            require_upgrade(request)
