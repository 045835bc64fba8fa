"""A gateway in this process, before managers that are given; and one process of it before all."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from kcms.config import ClusterAddress, GatewayConfig
from kcms.gateway.api import Gateway
from kcms.gateway.attach import Attaching
from kcms.gateway.checker import Checker
from kcms.gateway.daemon import listening
from kcms.gateway.door import Door
from kcms.gateway.files import Files
from kcms.gateway.managers import Clusters, Managers
from kcms.gateway.peers import Peers
from kcms.gateway.pourer import Pourer
from kcms.gateway.users import UserDatabase
from kcms.tls import server_context
from tests.certificates import Site

ME = pwd.getpwuid(os.getuid())


def gateway_config(site: Site, directory: Path, ports: dict[str, int]) -> GatewayConfig:
    """The gateway of host alpha1; ``directory`` takes its socket and is the shared directory."""
    certificate, key = site.issue("alpha1", ("kcms://submit/alpha1",))
    return GatewayConfig(
        host="alpha1",
        socket=str(directory / "api.sock"),
        clusters=[
            ClusterAddress(name=name, address="127.0.0.1", port=port)
            for name, port in ports.items()
        ],
        shared_directories=[str(directory)],
        tls_ca=site.ca_path,
        tls_certificate=certificate,
        tls_key=key,
    )


@contextlib.asynccontextmanager
async def gateway(
    config: GatewayConfig, door: Callable[[Callable[[], asyncio.Protocol]], Door] = Door
) -> AsyncIterator[None]:
    async with (
        Managers.open(config) as managers,
        Checker.open(config.shared_directories) as checker,
    ):
        clusters = Clusters(config)
        peers, users = Peers(config, managers, clusters, {}), UserDatabase()
        files = Files(config.host, managers, peers, Pourer(checker.children, users))
        face = Gateway(clusters, managers, checker, users, Attaching(managers, peers), files)
        async with listening(face.application(), Path(config.socket), door, face.road()):
            yield


class StubManager:
    """Answers from a list, and writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.answers: list[web.Response | None] = []  # None breaks the connection off
        self.port = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json() if request.can_read_body else None
        headers = {key: value for key, value in request.headers.items() if key[:5] == "Kcms-"}
        self.asked.append((request.method, request.path_qs, headers, body))
        answer = self.answers.pop(0)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer


@contextlib.asynccontextmanager
async def stub(context: ssl.SSLContext) -> AsyncIterator[StubManager]:
    manager = StubManager()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", manager.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        manager.port = runner.addresses[0][1]
        yield manager
    finally:
        await runner.cleanup()


def manager_tls(site: Site, cluster: str = "alpha") -> ssl.SSLContext:
    return server_context(site.ca_path, *site.issue(cluster, (f"kcms://manager/{cluster}",)))
