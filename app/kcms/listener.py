"""A port with TLS: whoever reaches it may begin a handshake, and has little of it.

A host counts from the moment that it connects, as a handshake costs more than what follows it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from asyncio import sslproto
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable

from kcms import door
from kcms.errors import ConfigError

log = logging.getLogger("kcms.listener")

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 2.0
HANDSHAKES = 32
"""Of one address at once, as each takes memory; others wait for their turn, a handshake's time."""

WAITING = 4096
"""Connections of all addresses before the end of their handshakes; others wait to be accepted."""

QUIET_SECONDS = 90.0
"""Without a request under way; nodes and gateways let go of their connections after 60 s."""

BACKLOG = 512
RETRY_SECONDS = 0.5

sslproto.SSLProtocol.max_size = 32 * 1024
# Of the two buffers that asyncio takes for each connection, 256 KiB otherwise; a record of TLS has
# 16 KiB, and a manager of a thousand nodes has three connections of each.


class Door(door.Door):
    """As :class:`kcms.door.Door`, for one connection that was counted already."""

    def __init__(
        self,
        server: Callable[[], asyncio.Protocol],
        quiet: float | None,
        left: Callable[[], None],
    ) -> None:
        super().__init__(server, 1, quiet)
        self._left = left

    def who(self, transport: asyncio.Transport) -> Hashable:
        return None

    def leave(self, who: Hashable) -> None:
        self._left()


class Listener:
    """Accepts connections at ``listener``, at most ``of_one`` at once of one address.

    :param quiet: as of :class:`kcms.door.Door`
    """

    def __init__(
        self,
        listener: socket.socket,
        server: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext,
        of_one: int,
        handshake: float = HANDSHAKE_SECONDS,
        quiet: float | None = QUIET_SECONDS,
    ) -> None:
        self._listener = listener
        self._server = server
        self._context = context
        self._of_one = of_one
        self._handshake = handshake
        self._quiet = quiet
        self.held: Counter[str] = Counter()
        self._turns: dict[str, asyncio.Semaphore] = {}
        self._shaking: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        """Accept until cancelled."""
        places = asyncio.Semaphore(WAITING)
        while True:
            await places.acquire()
            channel, address = await self._accepted()
            if self.held[address] >= self._of_one:
                channel.close()
                places.release()
                continue
            self.held[address] += 1
            self._turns.setdefault(address, asyncio.Semaphore(HANDSHAKES))
            task = asyncio.create_task(self._begin(channel, address))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)
            task.add_done_callback(lambda _: places.release())

    async def _accepted(self) -> tuple[socket.socket, str]:
        loop = asyncio.get_running_loop()
        while True:
            try:
                channel, address = await loop.sock_accept(self._listener)
            except OSError as error:  # no descriptor is left, or the peer has gone already
                told = {"message": "socket.accept() failed", "exception": error}
                loop.call_exception_handler(told)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return channel, str(address[0])

    async def _begin(self, channel: socket.socket, address: str) -> None:
        """The handshake; what follows is the guard's and the server's."""
        one = Door(self._server, self._quiet, lambda: self._leave(address))
        try:
            channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._handshake), self._turns[address]:
                await asyncio.get_running_loop().connect_accepted_socket(
                    one,
                    channel,
                    ssl=self._context,
                    ssl_handshake_timeout=self._handshake,
                    ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                )
        except OSError as error:  # ssl's errors, and TimeoutError, are of these
            log.info("a connection of %s ended: %s", address, error or "no handshake")
        finally:
            if not one.held:
                channel.close()
                self._leave(address)

    def _leave(self, address: str) -> None:
        self.held[address] -= 1
        if not self.held[address]:
            del self.held[address], self._turns[address]

    async def close(self) -> None:
        self._listener.close()
        for each in self._shaking:
            each.cancel()
        await asyncio.gather(*self._shaking, return_exceptions=True)


def bound(address: str, port: int) -> socket.socket:
    """A socket that listens there.  :raises ConfigError: the address or port cannot be had"""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        made = socket.create_server((address, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {address} port {port}: {error.strerror or error}"
        ) from error
    made.setblocking(False)
    return made


@contextlib.asynccontextmanager
async def listening(listener: Listener) -> AsyncIterator[None]:
    """Accept for as long as the context lasts."""
    accepting = asyncio.create_task(listener.serve())
    try:
        yield
    finally:
        accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await accepting
        await listener.close()
