"""The gateway's process: the Unix socket, open to every local user, and its application."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from aiohttp import web

from kcms.config import GatewayConfig
from kcms.errors import ConfigError
from kcms.express import Front, Road
from kcms.gateway import attach, files
from kcms.gateway.api import Gateway
from kcms.gateway.checker import Checker
from kcms.gateway.door import QUIET_SECONDS, Door
from kcms.gateway.managers import Clusters, Managers
from kcms.gateway.peers import Peers
from kcms.gateway.pourer import Pourer
from kcms.gateway.users import UserDatabase
from kcms.service import serve

SOCKET_MODE = 0o666  # everybody may call; the kernel says who it is
LAST_SECONDS = 10.0
"""For the answers to submissions that are under way when it ends."""


def main(config: GatewayConfig) -> int:
    """Serve until SIGTERM.  :raises ConfigError: settings that cannot be used"""
    clusters = Clusters(config)

    async def run(stop: asyncio.Event, ready: Callable[[], None]) -> None:
        async with (
            Managers.open(config) as managers,
            Checker.open(config.shared_directories) as checker,
        ):
            users = UserDatabase()
            pourer = Pourer(checker.children, users)
            kinds = {
                attach.KIND: attach.serving(config.sessions_directory),
                files.KIND: pourer.serve,
            }
            peers = Peers(config, managers, clusters, kinds)
            gateway = Gateway(
                clusters,
                managers,
                checker,
                users,
                attach.Attaching(managers, peers),
                files.Files(config.host, managers, peers, pourer),
            )
            serving = listening(gateway.application(), Path(config.socket), road=gateway.road())
            async with peers.listening(), serving:
                ready()
                await stop.wait()

    return serve(run)


@contextlib.asynccontextmanager
async def listening(
    app: web.Application,
    path: Path,
    door: Callable[[Callable[[], asyncio.Protocol]], Door] = Door,
    road: Road | None = None,
) -> AsyncIterator[None]:
    """Serve ``app`` at ``path`` for as long as the context lasts, and ``road`` by a faster way.

    :raises ConfigError: the socket cannot be made
    """
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=QUIET_SECONDS)
    await runner.setup()
    try:
        assert runner.server is not None
        front = Front(road or Road({}, ()), runner.server)
        server = await _listen(door(front), path)
        try:
            yield
        finally:
            server.close()
            await front.close(LAST_SECONDS)
    finally:
        await runner.cleanup()


async def _listen(door: Door, path: Path) -> asyncio.Server:
    try:
        server = await asyncio.get_running_loop().create_unix_server(door, str(path))
        path.chmod(SOCKET_MODE)
    except OSError as error:
        raise ConfigError(f"cannot listen at {path}: {error.strerror}") from error
    return server
