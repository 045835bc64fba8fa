"""``kcms relay``: standard input and output lead to the gateway's socket.

``kcms --via`` starts this on a head whose sshd forwards to no socket.  It is a process of the user
who logged in, so that the gateway is told that user.
"""

from __future__ import annotations

import os
import select
import socket

from kcms.cli import FAILURE_STATUS, complain
from kcms.cli.options import Parser
from kcms.client import DEFAULT_SOCKET, Client

INPUT, OUTPUT = 0, 1
BLOCK = 65536


def relay(words: list[str]) -> int:
    parser = Parser(
        "relay", "Hand standard input on to the gateway of this host, and its answer back."
    )
    parser.add_argument("--socket", metavar="PATH", default=DEFAULT_SOCKET)
    options = parser.parse_args(words)
    client = Client(options.socket)
    try:
        channel = client.connect(client.timeout)
    except OSError as error:
        complain(client.explained(error))
        return FAILURE_STATUS
    with channel:
        hand_on(channel, INPUT, OUTPUT)
    return 0


def hand_on(channel: socket.socket, source: int, target: int) -> None:
    """Until the gateway has said all, or nobody is there any more to take it."""
    channel.setblocking(True)
    sources: list[int | socket.socket] = [channel, source]
    while True:
        ready = select.select(sources, (), ())[0]
        if source in ready:
            data = os.read(source, BLOCK)
            if not data:
                sources.remove(source)  # its answer is still to come
            else:
                channel.sendall(data)
        if channel in ready:
            data = channel.recv(BLOCK)
            if not data:
                return
            while data:
                data = data[os.write(target, data) :]
