"""The gateway's door: every local user may connect, and each may hold so many connections."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Hashable

from aiohttp import web

from kcms import door
from kcms.errors import Unavailable
from kcms.gateway.streams import BUFFER, Pair

CONNECTIONS = 32  # of one uid
STREAMS = 64  # of one uid, connections that carry no requests any more
QUIET_SECONDS = 10.0  # without a request under way


def uid_of(channel: socket.socket) -> int:
    """The uid of the process at the other end, as the kernel recorded it when it connected."""
    credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("iII", credentials)
    return int(uid)


class Door(door.Door):
    """As :class:`kcms.door.Door`; a caller is a uid."""

    def __init__(
        self,
        server: Callable[[], asyncio.Protocol],
        connections: int = CONNECTIONS,
        quiet: float = QUIET_SECONDS,
    ) -> None:
        super().__init__(server, connections, quiet, STREAMS)

    def who(self, transport: asyncio.Transport) -> Hashable:
        return uid_of(transport.get_extra_info("socket"))

    def refusal(self, who: Hashable) -> bytes:
        said = f"uid {who} has {self.connections} connections to this gateway open already"
        message = f"{said}; try again later"
        content = json.dumps({"error": {"code": "unavailable", "message": message}}).encode()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        )
        return head.encode("ascii") + content


def divert(request: web.Request, protocol: str) -> Pair:
    """Answer a request by switching to ``protocol``; what the connection carries from now on.

    :raises Unavailable: it cannot be taken over
    """
    guard = request.transport.get_protocol() if request.transport is not None else None
    if not isinstance(guard, door.Guard):
        raise Unavailable("this connection cannot be taken over")
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(BUFFER, loop)
    streams = asyncio.StreamReaderProtocol(reader, loop=loop)
    greeting = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {protocol}\r\nConnection: Upgrade"
    transport = guard.divert(streams, greeting.encode("ascii") + b"\r\n\r\n")
    return Pair(reader, asyncio.StreamWriter(transport, streams, reader, loop))
