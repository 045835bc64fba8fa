"""The gateway's process: the Unix socket, open to every local user, and its application."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from kcms.config import GatewayConfig
from kcms.errors import ConfigError
from kcms.gateway.api import Gateway
from kcms.gateway.checker import Checker
from kcms.gateway.managers import Clusters, Managers
from kcms.gateway.users import UserDatabase
from kcms.service import serve

SOCKET_MODE = 0o666  # everybody may call; the kernel says who it is


def main(config: GatewayConfig) -> int:
    """Serve until SIGTERM.  :raises ConfigError: settings that cannot be used"""
    clusters = Clusters(config)
    if not config.shared_directories:
        raise ConfigError("shared_directories is empty: no program could ever be submitted")

    async def run(stop: asyncio.Event, ready: Callable[[], None]) -> None:
        async with Managers.open(config) as managers:
            checker = Checker(config.shared_directories)
            gateway = Gateway(clusters, managers, checker, UserDatabase())
            runner = web.AppRunner(gateway.application(), access_log=None)
            await runner.setup()
            try:
                await _listen(runner, Path(config.socket))
                ready()
                await stop.wait()
            finally:
                await runner.cleanup()

    return serve(run)


async def _listen(runner: web.AppRunner, path: Path) -> None:
    try:
        await web.UnixSite(runner, str(path)).start()
        path.chmod(SOCKET_MODE)
    except OSError as error:
        raise ConfigError(f"cannot listen at {path}: {error.strerror}") from error
