"""An answer on a connection that all users of a host share is that of the request it follows."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from kcms.config import ClusterAddress
from kcms.gateway.line import Line


def said(text: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(text) + text


async def test_what_was_not_asked_for_is_nobodys_answer() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said(b"alice's") + said(b"alice's again"))
        with contextlib.suppress(ConnectionResetError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionResetError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    context: Any = None
    port = server.sockets[0].getsockname()[1]
    line = Line(ClusterAddress(name="a", address="127.0.0.1", port=port), context)
    await line.connect()
    assert await line.call("/", {"Kcms-User": "alice"}, b"") == (
        *(200, "application/json"),
        b"alice's",
    )
    with pytest.raises(ConnectionResetError):
        await line.call("/", {"Kcms-User": "bob"}, b"")
    line.close()
    await asyncio.sleep(0.05)
    server.close()
    await server.wait_closed()
