"""Serves :mod:`kcms.manager.text` over TCP to the few addresses that may use it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections.abc import AsyncIterator, Iterable
from typing import Any, Protocol

from kcms.config import ManagerConfig
from kcms.errors import ConfigError, KcmsError, ProtocolError
from kcms.jobs.model import Job
from kcms.manager import text
from kcms.manager.core import Caller
from kcms.manager.hosts import Hosts, plain_address

log = logging.getLogger("kcms.manager.text")

LINE_LIMIT = 1024
LINE_SECONDS = 10.0
SILENCE_SECONDS = 1.0
ANSWER_SECONDS = 30.0
FAREWELL_SECONDS = 2.0
CONNECTIONS = 32
STRANGERS = 1024  # remembered, so that each is one line in the journal

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Jobs(Protocol):
    """What the port needs of the manager: of :class:`kcms.manager.engine.Engine`."""

    async def processes(
        self, user: str | None, node: str | None
    ) -> tuple[list[dict[str, Any]], int]: ...

    def job_of_pid(self, node: str, pid: int) -> int | None: ...

    async def kill(self, caller: Caller, number: int) -> Job: ...

    def task_of_pid(self, node: str, pid: int) -> int | None: ...

    async def migrate(
        self, caller: Caller, number: int, node: str, check: bool, task: int | None = None
    ) -> Job: ...


class TextPort:
    """Answers one connection after another; see :func:`serving`."""

    def __init__(self, jobs: Jobs, hosts: Hosts, allowed: Iterable[str]) -> None:
        """:raises ConfigError: something allowed is neither address nor network"""
        self._jobs = jobs
        self._hosts = hosts
        self._allowed = [_network(each) for each in allowed]
        self._strangers: set[str] = set()
        self._open = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = plain_address(str((writer.get_extra_info("peername") or ("",))[0]))
        self._open += 1
        try:
            if not self._may(peer):
                self._turn_away(peer)
            elif self._open > CONNECTIONS:
                log.warning("%s is turned away: %d connections are open", peer, CONNECTIONS)
            else:
                await self._exchange(reader, writer, peer)
        except ProtocolError as error:
            log.warning("%s sent no request: %s", peer, error.message)
        except TimeoutError:
            log.warning("%s was too slow", peer)
        except OSError:
            pass  # the client has gone; it knows
        finally:
            self._open -= 1
            writer.transport.abort()

    def _may(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in each for each in self._allowed)

    def _turn_away(self, peer: str) -> None:
        if peer not in self._strangers and len(self._strangers) < STRANGERS:
            self._strangers.add(peer)
            log.warning("%s may not use the text port: it is not in text_allowed", peer)

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str
    ) -> None:
        async with asyncio.timeout(LINE_SECONDS):
            request = text.parse(await _line(reader))
        content = await self._done(request, peer)
        async with asyncio.timeout(ANSWER_SECONDS):
            writer.transport.set_write_buffer_limits(high=0)  # drain() waits for every byte
            writer.write(content)
            await writer.drain()
        await _farewell(reader, writer)

    async def _done(self, request: text.Req | text.Mig | text.Kil, peer: str) -> bytes:
        """Do what is asked; the answer, which only REQ has."""
        root = Caller("root", 0, 0, f"text port, {peer}", grid_root=True)
        try:
            if isinstance(request, text.Req):
                user = None if request.user == "root" else request.user
                found, left_out = await self._jobs.processes(user, None)
                if left_out:
                    log.warning("%s is not told of %d processes: too many", peer, left_out)
                return text.answer(self._hosts.listing().nodes, found)
            log.info("%s asks for %s", peer, request)
            if isinstance(request, text.Kil):
                number, _ = self._task(request.node, request.pid)
                await self._jobs.kill(root, number)
            else:
                number, task = self._task(request.source, request.pid)
                await self._jobs.migrate(root, number, self._node(request.target), False, task)
        except KcmsError as error:
            log.warning("what %s asked for is not done: %s", peer, error.message)
        return b""

    def _node(self, name: str) -> str:
        """:raises ProtocolError: no node is called so"""
        node = self._hosts.node_called(name)
        if node is None:
            raise ProtocolError(f"no node has the name or address {name}")
        return node

    def _task(self, name: str, pid: int) -> tuple[int, int | None]:
        """The job and the task of a process.  :raises ProtocolError: no job has it there"""
        node = name  # REQ names nodes that left the inventory, too
        number = self._jobs.job_of_pid(node, pid)
        if number is None:
            node = self._node(name)
            number = self._jobs.job_of_pid(node, pid)
            if number is None:
                raise ProtocolError(f"no job has a process {pid} on {node}")
        return number, self._jobs.task_of_pid(node, pid)


async def _line(reader: asyncio.StreamReader) -> bytes:
    """The first line of what comes.  :raises ProtocolError: none, or too long"""
    got = b""
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS if got.startswith(b"REQ|") else None):
                part = await reader.read(LINE_LIMIT)
        except TimeoutError:
            part = b""
        got += part
        line = got.replace(b"\0", b"\n").partition(b"\n")[0]
        if len(line) > LINE_LIMIT:
            raise ProtocolError(f"its line is over {LINE_LIMIT} bytes")
        if not part or len(line) < len(got):
            return line.rstrip(b"\r")


async def _farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Close only when the client has seen the end: on unread input it could lose the answer."""
    writer.write_eof()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_SECONDS):
            while await reader.read(LINE_LIMIT):
                pass


def _network(name: str) -> Network:
    try:
        return ipaddress.ip_network(name)
    except ValueError as error:
        raise ConfigError(f"text_allowed: {error}; it needs addresses or networks") from error


@contextlib.asynccontextmanager
async def serving(config: ManagerConfig, jobs: Jobs, hosts: Hosts) -> AsyncIterator[None]:
    """Serve for as long as the context lasts; nothing when ``text_port`` is 0.

    :raises ConfigError: settings that cannot be used
    """
    if not config.text_port:
        yield
        return
    port = TextPort(jobs, hosts, config.text_allowed)
    where = f"{config.text_bind or 'every address'} port {config.text_port}"
    try:
        server = await asyncio.start_server(
            port.serve, config.text_bind or None, config.text_port, limit=LINE_LIMIT
        )
    except (OSError, OverflowError) as error:
        raise ConfigError(f"cannot serve the text protocol on {where}: {error}") from error
    log.info("the text protocol of 2003 is served on %s", where)
    try:
        yield
    finally:
        server.close()
