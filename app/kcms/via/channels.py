"""A connection to the head's gateway, within an SSH connection.

sshd connects to the socket for us (``direct-streamlocal@openssh.com``, section 2.4 of OpenSSH's
PROTOCOL), in the process that has become the user: the kernel tells the gateway that user's uid.
Where sshd is told not to (``AllowStreamLocalForwarding no``), ``kcms relay`` there does the same.
"""

from __future__ import annotations

import threading
from typing import Any

from kcms.client import ClientError

STREAMLOCAL = "direct-streamlocal@openssh.com"
RELAY = "kcms relay --socket "
OPEN_SECONDS = 30.0
MOST_SAID = 4096  # bytes of a relay's complaint
NOT_FOUND = 127  # the exit status of a shell that does not find a command


def open_streamlocal(paramiko: Any, transport: Any, path: str) -> Any:
    """paramiko's channel to a Unix socket of the other side.

    It can open no channel of this kind itself (2.12 to 5.1), so this goes the way of its
    ``Transport.open_channel``.  :raises paramiko.SSHException: it cannot be had
    """
    with transport.lock:
        number = transport._next_channel()
        window, packet = transport.default_window_size, transport.default_max_packet_size
        request = paramiko.Message()
        request.add_byte(bytes([paramiko.common.MSG_CHANNEL_OPEN]))
        request.add_string(STREAMLOCAL)
        for each in (number, window, packet):
            request.add_int(each)
        request.add_string(path)
        request.add_string("")  # both reserved
        request.add_int(0)
        channel = paramiko.Channel(number)
        transport._channels.put(number, channel)
        transport.channel_events[number] = opened = threading.Event()
        transport.channels_seen[number] = True
        channel._set_transport(transport)
        channel._set_window(window, packet)
    transport._send_user_message(request)
    answered = opened.wait(OPEN_SECONDS)
    if answered and transport._channels.get(number) is not None:
        return channel
    raise transport.get_exception() or paramiko.SSHException(
        "no answer to the request of a channel"
    )


class Line:
    """A channel as :class:`kcms.client.Client` uses a socket; says so when SSH is what broke.

    :param head: its name, for messages
    :param relayed: a relay is at the other end, whose complaint is worth telling
    """

    def __init__(self, channel: Any, head: str, relayed: bool) -> None:
        self._channel = channel
        self._head = head
        self._relayed = relayed
        self._heard = False

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def settimeout(self, seconds: float) -> None:
        self._channel.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except TimeoutError:
            raise
        except (OSError, EOFError) as error:
            self._check()
            raise BrokenPipeError(str(error)) from error  # there may be an answer all the same

    def recv(self, size: int) -> bytes:
        part = bytes(self._channel.recv(size))
        self._heard = self._heard or bool(part)
        if not part:
            self._check()
            if self._relayed and not self._heard:
                self._complain()
        return part

    def _check(self) -> None:
        if not self._channel.get_transport().is_active():
            raise lost(self._head)

    def _complain(self) -> None:
        said = self._channel.makefile_stderr("rb").read(MOST_SAID).decode(errors="replace")
        status = self._channel.recv_exit_status()
        if status == NOT_FOUND:
            why = (
                "sshd there connects to no sockets (AllowStreamLocalForwarding), and it has no kcms"
            )
            raise no_gateway(self._head, why)
        if status:
            last = next(reversed(said.strip().splitlines()), f"exit status {status}")
            raise no_gateway(self._head, f"it says: {last.removeprefix('kcms: ')}")


def lost(head: str) -> ClientError:
    return ClientError(
        "disconnected", f"the SSH connection to {head} broke; what was submitted there goes on"
    )


def no_gateway(head: str, why: str) -> ClientError:
    """No connection to its gateway; it may be starting again, so this may be waited for."""
    return ClientError("unavailable", f"no way to the gateway of {head}: {why}")
