"""The multicast channel of a cluster as sockets: no decoding, no state of the cluster.

Opening fails while the host's address is not there yet; the daemon tries again.  Group and address
are of the same family.  The receiving socket is bound to the group, so that traffic of other groups
on the same port stays away.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
from dataclasses import dataclass

import psutil

from kcms.errors import ConfigError
from kcms.wire.packets import MAX_DATAGRAM

RECEIVE_BUFFER = 8 * 1024 * 1024  # asked for; the kernel gives net.core.rmem_max at the most
_IP_MULTICAST_ALL = 49


@dataclass(frozen=True)
class ChannelAddress:
    """Where the channel is, and the address of this host that speaks on it."""

    group: str
    port: int
    address: str
    ttl: int

    def check(self) -> None:
        """:raises ConfigError: these cannot make a channel"""
        try:
            group, own = ipaddress.ip_address(self.group), ipaddress.ip_address(self.address)
        except ValueError as error:
            raise ConfigError(f"channel and address must be addresses: {error}") from error
        if not group.is_multicast:
            raise ConfigError(f"channel {group} is no multicast group, as 239.2.11.71 is")
        if group.version != own.version:
            raise ConfigError(
                f"channel {group} and address {own} must both be IPv4 or both IPv6 "
                "(as channel ff15::4b43:4d53)"
            )
        if not 0 < self.port < 65536 or not 0 <= self.ttl < 256:
            raise ConfigError(f"port {self.port} or ttl {self.ttl} is out of range")


class Channel:
    """A joined channel.  ``own`` is the (address, port) that its datagrams come from."""

    def __init__(self, where: ChannelAddress) -> None:
        """:raises OSError: the address or its interface is not there, or the port is taken"""
        self._where = where
        family = socket.AF_INET6 if ":" in where.group else socket.AF_INET
        with contextlib.ExitStack() as undo:
            self.receiver = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            self._sender = undo.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            if family == socket.AF_INET6:
                self._open6()
            else:
                self._open4()
            self.receiver.setblocking(False)
            self._sender.setblocking(False)
            self._sender.connect((where.group, where.port))
            undo.pop_all()
        self.own: tuple[str, int] = self._sender.getsockname()[:2]

    def _open4(self) -> None:
        group, own = socket.inet_aton(self._where.group), socket.inet_aton(self._where.address)
        _prepare(self.receiver)
        self.receiver.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        self.receiver.bind((self._where.group, self._where.port))
        self.receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + own)
        self._sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, self._where.ttl)
        self._sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, own)
        self._sender.bind((self._where.address, 0))

    def _open6(self) -> None:
        index = struct.pack("@I", _interface(self._where.address))
        group = socket.inet_pton(socket.AF_INET6, self._where.group)
        _prepare(self.receiver)
        self.receiver.bind((self._where.group, self._where.port))
        self.receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group + index)
        self._sender.setsockopt(
            socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, struct.pack("@i", self._where.ttl)
        )
        self._sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
        self._sender.bind((self._where.address, 0))

    def send(self, data: bytes) -> None:
        """Send one datagram.  :raises OSError: the network is away or its queue is full"""
        self._sender.send(data)

    def receive(self) -> tuple[bytes, tuple[str, int]] | None:
        """The next datagram with the address and port it came from; None when there is none.

        One too long for Ganglia comes cut, with a byte too many.

        :raises OSError: the socket is broken
        """
        try:
            data, source = self.receiver.recvfrom(MAX_DATAGRAM + 1)
        except (BlockingIOError, InterruptedError):
            return None
        return data, (source[0].partition("%")[0], source[1])

    def close(self) -> None:
        """Leave the channel."""
        self.receiver.close()
        self._sender.close()


def _prepare(receiver: socket.socket) -> None:
    """Others on this host may listen too; a burst of a whole cluster's start must find room."""
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)


def _interface(address: str) -> int:
    """The index of the interface that has ``address``.  :raises OSError: none has"""
    wanted = ipaddress.ip_address(address)
    for name, found in psutil.net_if_addrs().items():
        for each in found:
            with contextlib.suppress(ValueError):
                if ipaddress.ip_address(each.address.partition("%")[0]) == wanted:
                    return socket.if_nametoindex(name)
    raise OSError(f"no interface has the address {address} yet")
