"""The sockets of a network namespace by their inode, and what to call each of them in a sentence.

Everything but Unix sockets comes from the tables in /proc/P/net.  A Unix socket's peer is told by
the kernel's sock_diag only (sock_diag(7)); asking needs no privilege.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from kcms.node import procfs

ESTABLISHED, LISTEN = 1, 10
MOST_MESSAGES = 1 << 20


class Inet(NamedTuple):
    """A row of tcp, udp or raw: ends as ADDRESS:PORT, ``state`` as the kernel numbers it."""

    protocol: str
    local: str
    remote: str
    state: int


class Unix(NamedTuple):
    """``peer`` is the inode of the other end (0: none), ``name`` a path, @NAME or empty."""

    state: int
    peer: int
    name: str


def parse_inet(protocol: str, text: bytes) -> Iterator[tuple[int, Inet]]:
    """Rows of /proc/net/tcp and the like, by inode."""
    for line in text.decode("ascii", "replace").splitlines()[1:]:
        row = line.split()
        if len(row) > 9:
            found = Inet(protocol, _end(row[1]), _end(row[2]), int(row[3], 16))
            yield int(row[9]), found


def _end(text: str) -> str:
    """``0100007F:1F90`` → ``127.0.0.1:8080``; the kernel prints words of the host's order."""
    address, _, port = text.partition(":")
    words = struct.unpack(f">{len(address) // 8}I", bytes.fromhex(address))
    found = ipaddress.ip_address(struct.pack(f"={len(words)}I", *words))
    shown = f"[{found}]" if found.version == 6 else str(found)
    return f"{shown}:{int(port, 16)}"


_TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp", "icmp6")


def inet_table(directory: str) -> dict[int, Inet]:
    """:param directory: as /proc/P/net"""
    found: dict[int, Inet] = {}
    for name in _TABLES:
        try:
            text = procfs.read(f"{directory}/{name}")
        except OSError:
            continue  # a kernel without that protocol
        found.update(parse_inet(name.removesuffix("6").upper(), text))
    return found


_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = struct.Struct("=BBHIIIII")
_HEADER = struct.Struct("=IHHII")
_ROW = struct.Struct("=BBBBIII")
_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_SHOW = 0x1 | 0x4  # UDIAG_SHOW_NAME | UDIAG_SHOW_PEER
_NAME, _PEER = 0, 2
_ERROR, _DONE = 2, 3


def unix_table() -> dict[int, Unix]:
    """Every Unix socket of our network namespace.  :raises OSError: the kernel does not tell"""
    request = _REQUEST.pack(socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, _SHOW, 0xFFFFFFFF, 0xFFFFFFFF)
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _DUMP, 1, 0)
    found: dict[int, Unix] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as asked:
        asked.settimeout(5.0)
        asked.send(header + request)
        for _ in range(MOST_MESSAGES):
            if not parse_unix(asked.recv(1 << 20), found):
                return found
    raise OSError("the kernel's list of Unix sockets has no end")


def parse_unix(data: bytes, found: dict[int, Unix]) -> bool:
    """Add the sockets of one answer; False after the last.  :raises OSError: it is an error"""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if kind == _DONE:
            return False
        if kind == _ERROR or length < _HEADER.size:
            number = -struct.unpack_from("=i", data, _HEADER.size)[0] if kind == _ERROR else 0
            raise OSError(number, os.strerror(number))
        _add(data[_HEADER.size : length], found)
        data = data[(length + 3) & ~3 :]
    return True


def _add(body: bytes, found: dict[int, Unix]) -> None:
    _, _, state, _, inode, _, _ = _ROW.unpack_from(body)
    peer, name, rest = 0, "", body[_ROW.size :]
    while len(rest) >= 4:
        length, kind = struct.unpack_from("=HH", rest)
        value = rest[4 : max(length, 4)]
        if kind == _PEER and len(value) >= 4:
            peer = struct.unpack_from("=I", value)[0]
        elif kind == _NAME:
            name = _name(value)
        rest = rest[max((length + 3) & ~3, 4) :]
    found[inode] = Unix(state, peer, name)


def _name(value: bytes) -> str:
    if value.startswith(b"\0"):
        return "@" + os.fsdecode(value[1:])
    return os.fsdecode(value.split(b"\0", 1)[0])
