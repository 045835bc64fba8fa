"""Fetch the XML of a monitor, an aggregator, a gmond or a gmetad, and parse it as it arrives."""

from __future__ import annotations

import asyncio
import os
import socket
import time

from kcms.errors import Unavailable
from kcms.wire.ganglia_xml import GangliaTree, Grid
from kcms.wire.xml_read import MAX_BYTES, TreeReader

_PIECE = 64 * 1024


def fetch_tree(address: str, port: int, timeout: float, max_bytes: int = MAX_BYTES) -> GangliaTree:
    """The tree that ``address`` tells; ``timeout`` is for all of it, in seconds.

    :raises Unavailable: it cannot be reached, or takes too long
    :raises ProtocolError: what it says is no Ganglia XML
    """
    deadline = time.monotonic() + timeout
    reader = TreeReader(max_bytes)
    try:
        with socket.create_connection((address, port), timeout) as connection:
            while True:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                piece = connection.recv(_PIECE)
                if not piece:
                    return reader.close()
                reader.feed(piece)
    except OSError as error:
        raise _unavailable(address, port, error) from error


def fetch_grid(address: str, port: int, timeout: float) -> Grid:
    """The grid that an aggregator tells; as :func:`fetch_tree`."""
    return fetch_tree(address, port, timeout).grid


async def read_tree(
    address: str, port: int, connect_timeout: float, read_timeout: float, max_bytes: int = MAX_BYTES
) -> GangliaTree:
    """As :func:`fetch_tree`, with a time of its own for the connection."""
    try:
        async with asyncio.timeout(connect_timeout):
            reader, writer = await asyncio.open_connection(address, port)
        try:
            async with asyncio.timeout(read_timeout):
                return await _read(reader, max_bytes)
        finally:
            writer.transport.abort()  # everything was read, or nothing more is wanted
    except OSError as error:
        raise _unavailable(address, port, error) from error


async def _read(reader: asyncio.StreamReader, max_bytes: int) -> GangliaTree:
    tree = TreeReader(max_bytes)
    while piece := await reader.read(_PIECE):
        tree.feed(piece)
    return tree.close()


def _unavailable(address: str, port: int, error: OSError) -> Unavailable:
    shown = f"[{address}]" if ":" in address else address
    if isinstance(error, TimeoutError):
        return Unavailable(f"{shown}:{port} takes too long")
    reason = error.strerror or str(error)
    if error.errno and error.errno > 0:  # those below are a resolver's, with a text of their own
        reason = os.strerror(error.errno)
    return Unavailable(f"{shown}:{port}: {reason}")
