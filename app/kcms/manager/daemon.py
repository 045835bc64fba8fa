"""The manager's process: store, engine and API, served over mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web

from kcms import service
from kcms.config import ManagerConfig
from kcms.errors import ConfigError
from kcms.express import Front
from kcms.jobs.pressure import Marks
from kcms.jobs.spec_values import SpecError, check_interval
from kcms.listener import Listener, bound, listening
from kcms.manager.api import Api
from kcms.manager.engine import Engine
from kcms.manager.hosts import Hosts
from kcms.manager.logins import Logins, boot_clock
from kcms.manager.memory import Rules
from kcms.manager.passwords import Passwords
from kcms.manager.sessions import Sessions, Throttle
from kcms.manager.store import Store
from kcms.manager.text_port import serving
from kcms.tls import server_context

log = logging.getLogger("kcms.manager")
SHUTDOWN_SECONDS = 2.0


def main(config: ManagerConfig) -> int:
    """Run until SIGTERM.  :raises KcmsError: certificates, store or address cannot be used"""

    async def run(stop: asyncio.Event, ready: Callable[[], None]) -> None:
        await _run(config, stop, ready)

    return service.serve(run)


async def _run(config: ManagerConfig, stop: asyncio.Event, ready: Callable[[], None]) -> None:
    asyncio.get_running_loop().set_exception_handler(_Quietly())
    context = server_context(config.tls_ca, config.tls_certificate, config.tls_key)
    store = Store(config.state_directory, config.cluster)
    hosts = Hosts(config.hosts_file)
    hosts.require()
    engine = Engine(store, hosts, _rules(config))
    logins = _logins(config)
    api = Api(config.cluster, engine, hosts, logins)
    runner = web.AppRunner(api.application())
    await runner.setup()
    assert runner.server is not None
    front = Front(api.road(), runner.server)
    worker = asyncio.create_task(engine.run())
    try:
        listener = Listener(
            bound(config.address, config.port), front, context, config.host_connections
        )
        log.info("manager of %s listens on %s port %d", config.cluster, config.address, config.port)
        async with listening(listener), serving(config, engine, hosts):
            ready()
            await asyncio.wait(
                {worker, asyncio.create_task(stop.wait())}, return_when=asyncio.FIRST_COMPLETED
            )
        if worker.done():
            worker.result()
    finally:
        await engine.end_waits()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await asyncio.gather(
                    front.close(SHUTDOWN_SECONDS), runner.server.shutdown(SHUTDOWN_SECONDS)
                )
                await runner.cleanup()
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
        logins.close()
        store.close()


def _rules(config: ManagerConfig) -> Rules:
    return Rules(
        node_timeout=config.node_timeout,
        node_lost=config.node_lost,
        kill_grace=config.kill_grace,
        max_open_jobs=config.max_open_jobs,
        max_open_tasks=config.max_open_tasks,
        migration_timeout=config.migration_timeout,
        ended_shown=config.ended_shown,
        lease=config.lease,
        max_restarts=config.max_restarts,
        checkpoint_interval=_interval(config),
        checkpoints_kept=config.checkpoints_kept,
        checkpoints_at_once=config.checkpoints_at_once,
        checkpoints_a_node=config.checkpoints_a_node,
        partitions={each.name: frozenset(each.nodes) for each in config.partitions},
        balance=_marks(config) if config.balance else None,
    )


def _marks(config: ManagerConfig) -> Marks:
    return Marks(
        high=config.balance_high,
        low=config.balance_low,
        hold=config.balance_seconds,
        factor=config.balance_factor,
        pause=config.balance_pause,
        jobs_only=config.balance_jobs_only,
    )


def _interval(config: ManagerConfig) -> int | str:
    try:
        return check_interval(config.checkpoint_interval)
    except SpecError as error:
        raise ConfigError(f"checkpoint_interval {error}") from error


def _logins(config: ManagerConfig) -> Logins:
    sessions = Sessions(config.login_idle, config.login_life, boot_clock)
    passwords = Passwords(config.state_directory)
    return Logins(passwords, sessions, Throttle(boot_clock), config.web_root)


class _Quietly(service.AcceptFailures):
    """A peer that fails its TLS handshake is one line, not a traceback."""

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, OSError) and "accept" not in str(context.get("message")):
            log.info("a connection ended: %s", error)
        else:
            super().__call__(loop, context)
