"""TLS in front of the page: bytes of browsers in, the same bytes in clear to a Unix socket.

The page's server speaks no TLS.  This door ends it and knows nothing of HTTP; it bounds how many
connections there are, of one address too, and how long each may take to say anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import socket
import ssl
import threading
from collections import Counter
from dataclasses import dataclass

from kcms.errors import ConfigError

log = logging.getLogger("kcms.web.tls")

BLOCK = 64 * 1024
MARK = b"\0kcms-web/"


@dataclass(frozen=True)
class Limits:
    """How much one may ask of the door; times in seconds."""

    connections: int = 256
    of_one_address: int = 96
    handshake: float = 10.0
    idle: float = 120.0
    shutdown: float = 3.0


def context(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context for browsers.  :raises ConfigError: the files cannot be used"""
    found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    found.minimum_version = ssl.TLSVersion.TLSv1_2
    found.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    found.set_alpn_protocols(["http/1.1"])
    try:
        found.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use tls_certificate {certificate!r} and tls_key {key!r}: {error}; "
            "run the site playbook for this host again"
        ) from error
    return found


class Door:
    """Serves TLS on ``listener`` for what listens at the Unix socket ``inside``, in a thread.

    What listens there learns the browser's address by :func:`address_of`.
    """

    def __init__(
        self,
        listener: socket.socket,
        tls: ssl.SSLContext,
        inside: str,
        limits: Limits | None = None,
    ) -> None:
        self._listener = listener
        self._tls = tls
        self._inside = inside
        self._limits = limits or Limits()
        self._held: Counter[str] = Counter()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._thread.start()
        self._ready.wait(10)

    def close(self) -> None:
        """Accept no more, end what is open, and wait until it has ended."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        accepting = asyncio.create_task(self._accept())
        self._ready.set()
        await self._stop.wait()
        accepting.cancel()
        self._listener.close()

    async def _accept(self) -> None:
        """Take connections, as many at once as there are places; others wait in the backlog."""
        loop = asyncio.get_running_loop()
        places = asyncio.Semaphore(self._limits.connections)
        running: set[asyncio.Task[None]] = set()
        quiet = False
        while True:
            await places.acquire()
            try:
                channel, address = await loop.sock_accept(self._listener)
            except OSError as error:
                if not quiet:
                    log.error("connections cannot be accepted: %s", error)
                quiet = True
                places.release()
                await asyncio.sleep(0.5)
                continue
            quiet = False
            task = asyncio.create_task(self._guarded(channel, str(address[0])))
            running.add(task)
            task.add_done_callback(running.discard)
            task.add_done_callback(lambda _: places.release())

    async def _guarded(self, channel: socket.socket, address: str) -> None:
        if self._held[address] >= self._limits.of_one_address:
            channel.close()
            return
        self._held[address] += 1
        try:
            await self._connection(channel, address)
        except (OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError):
            pass  # theirs to see; a port that everybody may try is no news in the journal
        finally:
            channel.close()
            self._held[address] -= 1
            if not self._held[address]:
                del self._held[address]

    async def _connection(self, channel: socket.socket, address: str) -> None:
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=BLOCK)
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol,
            channel,
            ssl=self._tls,
            ssl_handshake_timeout=self._limits.handshake,
            ssl_shutdown_timeout=self._limits.shutdown,
        )
        outside = asyncio.StreamWriter(transport, protocol, reader, loop)
        try:
            inner, inside = await self._opened(address)
            try:
                await self._both(reader, inside, inner, outside)
            finally:
                inside.close()
        finally:
            await _closed(outside, self._limits.shutdown)

    async def _opened(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to what is inside, from a socket whose name tells the address."""
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.setblocking(False)
            channel.bind(_name_for(address))
            await asyncio.get_running_loop().sock_connect(channel, self._inside)
            return await asyncio.open_unix_connection(sock=channel, limit=BLOCK)
        except BaseException:
            channel.close()
            raise

    async def _both(
        self,
        reader: asyncio.StreamReader,
        inside: asyncio.StreamWriter,
        inner: asyncio.StreamReader,
        outside: asyncio.StreamWriter,
    ) -> None:
        """Pass bytes on both ways until one side ends or nothing moves for too long."""
        async with asyncio.timeout(self._limits.idle) as limit:
            ways = [
                asyncio.create_task(self._pass_on(reader, inside, limit)),
                asyncio.create_task(self._pass_on(inner, outside, limit)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in ways:
                    each.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    async def _pass_on(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, limit: asyncio.Timeout
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await source.read(BLOCK):
            limit.reschedule(loop.time() + self._limits.idle)
            sink.write(data)
            await sink.drain()
            limit.reschedule(loop.time() + self._limits.idle)


def _name_for(address: str) -> bytes:
    """A name that nobody can have taken before."""
    return MARK + secrets.token_hex(16).encode() + b"/" + address[:48].encode()


def address_of(name: bytes | str | None) -> str:
    """The browser's address, from the name of the socket that came to the inside."""
    if not isinstance(name, bytes) or not name.startswith(MARK):
        return "localhost"
    return name[len(MARK) :].partition(b"/")[2].decode("ascii", "replace")


async def _closed(writer: asyncio.StreamWriter, seconds: float) -> None:
    writer.close()
    try:
        with contextlib.suppress(OSError, ssl.SSLError):
            async with asyncio.timeout(seconds):
                await writer.wait_closed()
    except TimeoutError:
        writer.transport.abort()
