"""Serve XML over TCP to those who may read it: connect, receive everything, done.

Each reader gets a generator of pieces of its own and a deadline for the whole answer, so one that
does not read holds up nobody and is dropped.  Nothing is buffered beyond the piece being sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterable, Iterator

from kcms.errors import ConfigError
from kcms.wire.xml_write import encode

log = logging.getLogger("kcms.xml")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MAX_READERS = 64
PIECE = 64 * 1024
FAREWELL = 2.0  # seconds a reader has to close after the last byte
_IP_FREEBIND = 15
_IPV6_FREEBIND = 78


class Trusted:
    """Who may read: loopback, and the addresses and networks named."""

    def __init__(self, names: Iterable[str]) -> None:
        """:raises ConfigError: one is neither address nor network"""
        self._networks = [_network(each) for each in names]

    def __contains__(self, address: str) -> bool:
        try:
            peer = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return False
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
            peer = peer.ipv4_mapped
        return peer.is_loopback or any(peer in each for each in self._networks)


def _network(name: str) -> Network:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError as error:
        raise ConfigError(
            f"trusted_hosts: {name!r} is neither an address nor a network such as 10.0.0.0/24"
        ) from error


def listen(address: str, port: int) -> socket.socket:
    """A socket for readers; without ``address`` for every one of IPv4 and, if there is, IPv6.

    The address need not be there yet, so that the daemon can start before the network.

    :raises ConfigError: it is no address, or the port is taken
    """
    try:
        if not address and socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return _listen(address, port)
    except (OSError, OverflowError, ValueError) as error:
        where = f"{address or 'every address'}, port {port}"
        raise ConfigError(f"cannot serve the XML on {where}: {error}") from error


def _listen(address: str, port: int) -> socket.socket:
    six = ":" in address
    server = socket.socket(socket.AF_INET6 if six else socket.AF_INET, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if six:
            server.setsockopt(socket.IPPROTO_IPV6, _IPV6_FREEBIND, 1)
        else:
            server.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        server.bind((address, port))
        server.listen(MAX_READERS)
    except BaseException:
        server.close()
        raise
    return server


class XmlServer:
    """Answers every trusted connection with the pieces that ``pieces()`` yields at that time."""

    def __init__(
        self, pieces: Callable[[], Iterator[str]], trusted: Trusted, timeout: float
    ) -> None:
        self._pieces = pieces
        self._trusted = trusted
        self._timeout = timeout
        self._readers = 0

    async def start(self, listener: socket.socket) -> asyncio.Server:
        """Begin to answer on ``listener``."""
        return await asyncio.start_server(self._answer, sock=listener, limit=PIECE)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = str((writer.get_extra_info("peername") or ("",))[0])
        self._readers += 1
        try:
            if peer in self._trusted and self._readers <= MAX_READERS:
                async with asyncio.timeout(self._timeout):
                    await self._send(writer)
                with contextlib.suppress(TimeoutError):
                    await _farewell(reader, writer)
        except TimeoutError:
            log.warning("%s did not take the XML within %g s", peer, self._timeout)
        except OSError:
            pass  # the reader has gone; it knows
        finally:
            self._readers -= 1
            writer.transport.abort()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(high=0)  # drain() then waits for every byte
        held: list[str] = []
        size = 0
        for piece in self._pieces():
            held.append(piece)
            size += len(piece)
            if size >= PIECE:
                writer.write(encode("".join(held)))
                held, size = [], 0
                await writer.drain()
                await asyncio.sleep(0)  # others' turn: drain() alone returns at once to a fast one
        writer.write(encode("".join(held)))
        await writer.drain()


async def _farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait until the reader has seen the end: to close on unread input would cut its tail off."""
    writer.write_eof()
    async with asyncio.timeout(FAREWELL):
        while await reader.read(PIECE):
            pass
