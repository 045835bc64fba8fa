"""The fast way for submissions, beside aiohttp on one socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kcms import express
from kcms.door import QUEUED, SLICE, Guard, tell_guard
from kcms.errors import Conflict
from kcms.express import Road
from kcms.gateway import daemon
from kcms.gateway.daemon import listening
from kcms.gateway.door import Door
from kcms.http import application, json_body

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Kitchen:
    """Answers a submission with its number, once it is ``let``; counts those under way."""

    def __init__(self) -> None:
        self.under_way = self.most = 0
        self.let = asyncio.Event()
        self.let.set()

    async def submit(self, request: Any) -> web.Response:
        number = (await json_body(request))["n"]
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.let.wait()
            await asyncio.sleep(0.001 * (number % 3))
            if number == 666:
                raise Conflict("not this one")
            if number == 667:
                raise RuntimeError("nobody thought of this")
            by = "express" if isinstance(request, express.Plain) else "aiohttp"
            return web.json_response({"n": number, "by": by}, status=201)
        finally:
            self.under_way -= 1

    async def ping(self, _request: web.Request) -> web.Response:
        return web.json_response({"n": "ping", "by": "aiohttp"})


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


@contextlib.asynccontextmanager
async def open_kitchen(kitchen: Kitchen, path: Path) -> AsyncIterator[Stream]:
    """A kitchen's socket for as long as the context lasts, and a connection to it, which is the
    caller's to close."""
    app = application()
    app.middlewares.insert(0, tell_guard)
    app.router.add_post("/v1/jobs", kitchen.submit)
    app.router.add_get("/v1/ping", kitchen.ping)
    road = Road({"/v1/jobs": kitchen.submit}, ("Kcms-As",))
    async with (
        asyncio.timeout(30),
        listening(app, path, lambda server: Door(server, 9, 0.5), road),
    ):
        yield await asyncio.open_unix_connection(str(path))


@pytest.fixture
async def line(kitchen: Kitchen, tmp_path: Path) -> AsyncIterator[Stream]:
    async with open_kitchen(kitchen, tmp_path / "api.sock") as made:
        yield made
        made[1].close()


def post(number: int, *headers: str) -> bytes:
    body = json.dumps({"n": number}).encode()
    lines = ["POST /v1/jobs HTTP/1.1", "Host: x", *headers, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


PING = b"GET /v1/ping HTTP/1.1\r\nHost: x\r\n\r\n"


async def answers(line: Stream, count: int) -> list[tuple[int, dict[str, Any]]]:
    found = []
    for _ in range(count):
        head = (await line[0].readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length:")[2].split()[0])
        found.append((int(head.split()[1]), json.loads(await line[0].readexactly(size))))
    return found


def by(found: list[tuple[int, dict[str, Any]]]) -> list[tuple[Any, Any]]:
    return [(document.get("n"), document.get("by")) for _, document in found]


async def test_many_at_once_are_answered_in_their_order(line: Stream, kitchen: Kitchen) -> None:
    line[1].write(b"".join(post(number) for number in range(200)))
    found = await answers(line, 200)
    assert by(found) == [(number, "express") for number in range(200)]
    assert {status for status, _ in found} == {201}
    assert 1 < kitchen.most <= express.AT_ONCE


async def test_a_request_may_come_in_pieces(line: Stream) -> None:
    whole = post(1) + post(2)
    for at in range(0, len(whole), 7):
        line[1].write(whole[at : at + 7])
        await line[1].drain()
        await asyncio.sleep(0)
    assert by(await answers(line, 2)) == [(1, "express"), (2, "express")]


async def test_from_the_first_other_request_on_the_connection_is_aiohttps(line: Stream) -> None:
    line[1].write(post(1) + post(2) + PING + post(3))
    expected = [(1, "express"), (2, "express"), ("ping", "aiohttp"), (3, "aiohttp")]
    assert by(await answers(line, 4)) == expected
    line[1].write(post(4))
    assert by(await answers(line, 1)) == [(4, "aiohttp")]


@pytest.mark.parametrize("header", ["Kcms-Token: t", "X-Any: thing", "Connection: Upgrade"])
async def test_a_header_that_is_not_known_is_aiohttps(line: Stream, header: str) -> None:
    line[1].write(post(1) + post(2, header))
    assert by(await answers(line, 2)) == [(1, "express"), (2, "aiohttp")]


async def test_one_that_does_not_come_whole_in_time_is_aiohttps(
    line: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(express, "WHOLE_SECONDS", 0.05)
    line[1].write(post(1)[:-3])
    await asyncio.sleep(0.2)
    line[1].write(post(1)[-3:])
    assert by(await answers(line, 1)) == [(1, "aiohttp")]


async def test_errors_have_the_one_shape(line: Stream) -> None:
    line[1].write(post(666) + post(667) + post(1).replace(b'"n"', b"'n'"))
    found = await answers(line, 3)
    assert [(status, each["error"]["code"]) for status, each in found] == [
        (409, "conflict"),
        (500, "internal_error"),
        (400, "invalid_request"),
    ]
    line[1].write(post(1))
    assert by(await answers(line, 1)) == [(1, "express")]


async def test_a_slow_answer_does_not_close_the_connection_and_silence_does(
    line: Stream, kitchen: Kitchen
) -> None:
    kitchen.let.clear()
    line[1].write(post(1))
    await asyncio.sleep(1.0)  # longer than a connection may idle
    kitchen.let.set()
    assert by(await answers(line, 1)) == [(1, "express")]
    assert await line[0].read() == b""


async def test_who_sends_too_much_ahead_is_read_no_further(line: Stream, kitchen: Kitchen) -> None:
    kitchen.let.clear()
    sending = asyncio.create_task(flood(line[1], 60_000))
    await asyncio.sleep(0.5)
    assert kitchen.under_way == express.AT_ONCE
    assert not sending.done()
    sending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await sending
    kitchen.let.set()
    line[1].transport.abort()


async def test_so_many_bytes_are_under_way(
    line: Stream, kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(express, "BYTES_AT_ONCE", 3 * len('{"n": 1}'))
    kitchen.let.clear()
    line[1].write(b"".join(map(post, range(9))))
    await asyncio.sleep(0.2)
    assert kitchen.under_way == 3
    kitchen.let.set()
    assert by(await answers(line, 9)) == [(number, "express") for number in range(9)]
    assert kitchen.most == 3


async def test_what_is_passed_on_is_bounded_as_ever(
    line: Stream, kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a plain request that takes long, aiohttp gets no more at once than it would alone."""
    kitchen.let.clear()
    queued: list[int] = []
    hand_on = Guard._hand_on

    def watched(guard: Guard) -> None:
        hand_on(guard)
        queued.append(len(getattr(guard._inner, "_messages", ())))

    monkeypatch.setattr(Guard, "_hand_on", watched)
    line[1].write(post(1) + PING * 20_000)
    await asyncio.sleep(0.2)
    kitchen.let.set()
    assert by(await answers(line, 20_001))[-1] == ("ping", "aiohttp")
    assert 0 < max(queued) < QUEUED + SLICE // len(PING) + 2


async def flood(writer: asyncio.StreamWriter, count: int) -> None:
    for number in range(count):
        writer.write(post(number))
        await writer.drain()


async def test_what_is_under_way_is_answered_to_who_sends_no_more(line: Stream) -> None:
    line[1].write(post(1) + post(2))
    line[1].write_eof()
    assert by(await answers(line, 2)) == [(1, "express"), (2, "express")]
    assert await line[0].read() == b""


@pytest.mark.parametrize("ends", [True, False])
async def test_who_reads_late_has_every_answer(
    line: Stream, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    monkeypatch.setattr(express, "WHOLE_SECONDS", 0.05)
    numbers = [each % 600 for each in range(6000)]
    sending = asyncio.create_task(send(line[1], numbers, ends))
    await asyncio.sleep(0.4)  # less than a connection may idle
    assert by(await answers(line, 6000)) == [(number, "express") for number in numbers]
    await sending
    assert await line[0].read() == b""


async def send(writer: asyncio.StreamWriter, numbers: list[int], ends: bool) -> None:
    writer.write(b"".join(map(post, numbers)))
    if ends:
        writer.write_eof()


async def test_who_stops_serving_answers_what_is_under_way_first(
    kitchen: Kitchen, tmp_path: Path
) -> None:
    kitchen.let.clear()
    async with open_kitchen(kitchen, tmp_path / "api.sock") as line:
        line[1].write(post(1) + post(2))
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(0.3, kitchen.let.set)
    assert kitchen.under_way == 0
    assert by(await answers(line, 2)) == [(1, "express"), (2, "express")]
    assert await line[0].read() == b""
    await ended(line)


async def test_who_stops_serving_waits_for_nobody_for_long(
    kitchen: Kitchen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "LAST_SECONDS", 0.2)
    kitchen.let.clear()
    async with open_kitchen(kitchen, tmp_path / "api.sock") as line:
        line[1].write(post(1))
        await asyncio.sleep(0.1)
    with contextlib.suppress(ConnectionResetError):
        assert await line[0].read() == b""
    kitchen.let.set()
    await ended(line)


async def ended(line: Stream) -> None:
    line[1].close()
    with contextlib.suppress(OSError):
        await line[1].wait_closed()
