"""A gateway's connection for submissions to a real manager: who may speak there, and for whom."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from kcms.config import ClusterAddress
from kcms.express import Express
from kcms.gateway.line import Line
from kcms.manager import logins
from kcms.manager.passwords import Cost
from kcms.tls import client_context
from tests.integration.managed import HOSTS, Grid, Peer, headers_of

BODY = {"spec": {"executable": "/shared/x"}}
ROOT_HERE = {"Kcms-User": "root", "Kcms-Uid": "0", "Kcms-Gid": "0"}


@contextlib.asynccontextmanager
async def line_of(grid: Grid, host: str) -> AsyncIterator[Line]:
    context = client_context(grid.ca, *grid.certificate(host))
    line = Line(ClusterAddress(name="alpha", address="127.0.0.1", port=grid.port), context)
    await line.connect()
    yield line
    line.close()
    await asyncio.sleep(0.05)  # TLS connections end in later turns of the loop


async def said(line: Line, headers: Mapping[str, str], path: str = "/v1/jobs") -> Any:
    body = BODY if path == "/v1/jobs" else {"jobs": [BODY]}
    status, _, content = await line.call(path, headers, json.dumps(body).encode())
    return status, json.loads(content).get("error", {}).get("code")


@pytest.fixture
def passed_on(monkeypatch: pytest.MonkeyPatch) -> list[Express]:
    """The connections that became aiohttp's."""
    found: list[Express] = []
    hand_over = Express._hand_over

    def noted(one: Express) -> None:
        found.append(one)
        hand_over(one)

    monkeypatch.setattr(Express, "_hand_over", noted)
    return found


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/bulk"])
async def test_a_certificate_says_for_whom_one_may_speak(
    grid: Grid, passed_on: list[Express], path: str
) -> None:
    alice = headers_of("alice")
    async with line_of(grid, "pc") as of_node, line_of(grid, "alpha1") as of_gateway:
        assert await said(of_node, alice, path) == (403, "forbidden")
        assert await said(of_gateway, ROOT_HERE, path) == (403, "forbidden")
        assert await said(of_gateway, {**alice, "Kcms-Uid": "x"}, path) == (400, "invalid_request")
        assert await said(of_gateway, {}, path) == (400, "invalid_request")
        assert (await said(of_gateway, alice, path))[0] in (200, 201)
        grid.set_hosts({name: roles for name, roles in HOSTS.items() if name != "alpha1"})
        async with asyncio.timeout(10):
            while (await said(of_gateway, alice, path))[0] != 403:
                await asyncio.sleep(0.1)
    assert passed_on == []


async def test_a_login_speaks_there_too_and_slows_nobody_down(
    grid: Grid, alice: Peer, passed_on: list[Express], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logins, "Cost", lambda: Cost(n=4, r=1, p=1))
    await alice.call("POST", "/v1/password", {"password": "correct horse"})
    asked = {"user": "alice", "password": "correct horse"}
    token = {"Kcms-Token": (await alice.call("POST", "/v1/login", asked))[1]["token"]}
    passed_on.clear()
    async with line_of(grid, "alpha1") as line:
        assert await said(line, token) == (201, None)
        assert await said(line, {"Kcms-Token": "another"}) == (401, "unauthorized")
        assert await said(line, {**token, **headers_of("bob")}) == (400, "invalid_request")
    assert passed_on == []
