"""A program of its own: forks a child for each look at a user's files, and does nothing else.

The gateway starts it with one end of a SOCK_SEQPACKET pair as its standard input.  An order is one
packet, ``{"name": …, "uid": …, "gid": …, "seconds": N}``, and one descriptor: the child's end of a
stream, from which the child, once it *is* that user, reads one request of
:mod:`kcms.gateway.check`, and to which it writes the answer.  When the other end of the pair
closes, this ends.  Children do not depend on it: each answers, or is ended by its own timer.

A fork takes a fortieth of the time of a new Python, which was most of a submission's.  What makes
it safe: this process has one thread, reads nothing that a user wrote, opens nothing, holds no
stream longer than the fork takes, and can do nothing but become users; every child answers once.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import sys

from kcms.gateway import become, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ORDER_BYTES = 4096
STANDARD_INPUT = 0


def main() -> int:
    """Serve until the gateway closes its end."""
    control = socket.socket(fileno=STANDARD_INPUT)
    prepare()
    while True:
        order, streams, _, _ = socket.recv_fds(control, ORDER_BYTES, 1)
        if not order:
            return 0
        try:
            start(json.loads(order), streams[0])
        finally:
            for each in streams:
                os.close(each)


def prepare() -> None:
    """Give up what no child needs; children need not be waited for, nor leave memory images.

    It ends after the gateway, which systemd tells to end at the same time.
    """
    become.restrict()
    for each in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.umask(0o077)
    gc.freeze()


def start(order: dict[str, Any], stream: int) -> None:
    """Fork the child of an order; that there can be none is an answer, too."""
    try:
        child = os.fork()
    except OSError as error:
        say(stream, {"failed": f"cannot fork: {error.strerror}"})
        return
    if child == 0:
        try:
            os.dup2(stream, STANDARD_INPUT)  # the pair is closed by that
            os.close(stream)
            serve(order, STANDARD_INPUT)
        finally:
            os._exit(0)


def serve(order: dict[str, Any], stream: int) -> None:
    """The child: become the user, and answer the one request."""
    try:
        become.die_after(order["seconds"])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        become.become(order["name"], order["uid"], order["gid"])
        answer = check.answer(json.loads(everything(stream)))
    except Exception as error:  # noqa: BLE001 - whatever it is, the gateway is to hear of it
        answer = {"failed": f"{type(error).__name__}: {error}"}
    say(stream, answer)


def everything(stream: int) -> bytes:
    parts = []
    while part := os.read(stream, 65536):
        parts.append(part)
    return b"".join(parts)


def say(stream: int, answer: dict[str, Any]) -> None:
    """Write all of an answer; that nobody waits for it any more is no trouble."""
    left = json.dumps(answer).encode()
    try:
        while left:
            left = left[os.write(stream, left) :]
    except BrokenPipeError:
        pass


if __name__ == "__main__":
    sys.exit(main())
