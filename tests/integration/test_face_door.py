"""One user cannot keep the others out: connections are few a user, and none may idle for long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from kcms.client import Client, ClientError
from kcms.door import tell_guard
from kcms.gateway import door
from kcms.gateway.daemon import listening
from kcms.gateway.door import Door
from kcms.http import application
from tests.certificates import Site, make_site
from tests.integration.face import ME, gateway, gateway_config

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LIMIT = 4
QUIET = 0.2
ASK = b"GET /v2/none HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture
def doors() -> list[Door]:
    return []


@contextlib.asynccontextmanager
async def face(
    site: Site, directory: Path, quiet: float, doors: list[Door] | None = None
) -> AsyncIterator[str]:
    def made(server: web.Server) -> Door:
        new = Door(server, LIMIT, quiet)
        if doors is not None:
            doors.append(new)
        return new

    config = gateway_config(site, directory, {"alpha": 1})
    async with gateway(config, made):
        yield config.socket


async def connected(path: str, count: int) -> list[Stream]:
    return [await asyncio.open_unix_connection(path) for _ in range(count)]


async def asked(stream: Stream) -> int:
    """The status of an answer, on a connection that stays open."""
    stream[1].write(ASK)
    head = await stream[0].readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-le"))
    await stream[0].readexactly(int(length.split(b":")[1]))
    return int(head.split()[1])


@pytest.fixture
def as_another(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The uid that the kernel says; tests put in another's."""
    uid = [os.getuid()]
    monkeypatch.setattr(door, "uid_of", lambda _channel: uid[0])
    return uid


async def test_what_is_over_the_limit_is_told_so_and_closed(
    site: Site, tmp_path: Path, as_another: list[int]
) -> None:
    async with face(site, tmp_path, quiet=60) as path:
        held = await connected(path, LIMIT)
        assert await asked(held[-1]) == 404
        for _ in range(200):
            (extra,) = await connected(path, 1)
            answer = await extra[0].read()
            extra[1].close()
            assert answer.startswith(b"HTTP/1.1 503 ")
        error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert error["code"] == "unavailable"
        assert f"uid {os.getuid()} has {LIMIT} connections" in error["message"]
        as_another[0] += 1
        (other,) = await connected(path, 1)
        assert await asked(other) == 404
        for each in (*held, other):
            each[1].close()


async def test_our_client_says_why_it_is_turned_away(site: Site, tmp_path: Path) -> None:
    async with face(site, tmp_path, quiet=60) as path:
        held = await connected(path, LIMIT)
        assert await asked(held[0]) == 404
        caller = Client(path, as_user=ME.pw_name)
        spec = {"executable": "/x", "arguments": ["a" * 4000] * 100}
        for call in (caller.ping, partial(caller.submit, spec)):
            with pytest.raises(ClientError, match=f"has {LIMIT} connections") as caught:
                await asyncio.to_thread(call)
            assert (caught.value.status, caught.value.code) == (503, "unavailable")
        for each in held:
            each[1].close()


async def test_places_come_back(site: Site, tmp_path: Path, doors: list[Door]) -> None:
    async with face(site, tmp_path, quiet=60, doors=doors) as path:
        for _ in range(5):
            held = await connected(path, LIMIT)
            assert [await asked(each) for each in held] == [404] * LIMIT
            for each in held:
                each[1].close()
                await each[1].wait_closed()
            while doors[0].held:
                await asyncio.sleep(0.001)


@pytest.mark.parametrize("sent", [b"", b"GET /v1/pi", ASK, ASK + b"GET /v1/pi"])
async def test_who_begins_no_request_is_closed(site: Site, tmp_path: Path, sent: bytes) -> None:
    async with face(site, tmp_path, QUIET) as path, asyncio.timeout(30):
        ((reader, writer),) = await connected(path, 1)
        writer.write(sent)
        answer = await reader.read()  # ends as the gateway closes
        assert answer[:12] == (b"HTTP/1.1 404" if ASK in sent else b"")
        writer.close()


async def test_a_request_under_way_may_take_longer(tmp_path: Path) -> None:
    async def slow(_request: web.Request) -> web.Response:
        await asyncio.sleep(5 * QUIET)
        return web.Response(text="done")

    app = application()
    app.middlewares.insert(0, tell_guard)
    app.router.add_get("/slow", slow)
    path = tmp_path / "api.sock"
    async with listening(app, path, lambda server: Door(server, LIMIT, QUIET)):
        ((reader, writer),) = await connected(str(path), 1)
        writer.write(b"GET /slow HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"done")
        writer.close()


async def test_who_does_not_take_an_answer_is_closed(tmp_path: Path) -> None:
    doors: list[Door] = []

    def made(server: web.Server) -> Door:
        doors.append(Door(server, LIMIT, QUIET))
        return doors[0]

    async def large(_request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 50_000_000)

    app = application()
    app.middlewares.insert(0, tell_guard)
    app.router.add_get("/large", large)
    path = tmp_path / "api.sock"
    async with listening(app, path, made), asyncio.timeout(30):
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1024)
        writer.write(b"GET /large HTTP/1.0\r\n\r\n")
        while not doors[0].held:
            await asyncio.sleep(0.001)
        while doors[0].held:
            await asyncio.sleep(0.01)
        assert len(await reader.read()) < 50_000_000
        writer.close()
