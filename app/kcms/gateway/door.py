"""The gateway's door: every local user may connect, and each may hold so many connections."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Hashable

from kcms import door

CONNECTIONS = 32  # of one uid
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
        super().__init__(server, connections, quiet)

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
