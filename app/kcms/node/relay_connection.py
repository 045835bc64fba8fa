"""One gateway's connection to the process that serves a job's terminal, until it breaks."""

from __future__ import annotations

import errno
import socket

from kcms.attach import channel
from kcms.attach.chunks import Chunks

LATER = (errno.EAGAIN, errno.EINTR)
"""Errors that mean: not now."""


class Connection:
    """``greeted``: who is behind it may be attached.  ``last``: it is told why not, and is gone."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.chunks = Chunks()
        self.reader = channel.Reader()
        self.greeted = False
        self.unsent = b""
        self.last = False

    def read(self) -> list[channel.Frame] | None:
        """Frames; None when it is broken.  :raises ValueError: it does not keep to the protocol"""
        try:
            data = self.sock.recv(1 << 16)
        except OSError as error:
            return [] if error.errno in LATER else None
        return self.reader.feed(self.chunks.feed(data)) if data else None

    def write(self) -> bool:
        """Send some; False when it is broken."""
        try:
            self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except OSError as error:
            return error.errno in LATER
        return not (self.last and not self.unsent)
