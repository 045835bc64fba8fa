"""A program of its own: forks the children that look at users' files, and does nothing else.

The gateway starts it with one end of a SOCK_SEQPACKET pair as its standard input.  An order is one
packet, ``{"name": …, "uid": …, "gid": …, "seconds": N}``, and one descriptor: the child's end of a
stream, from which the child, once it *is* that user, reads requests of
:mod:`kcms.gateway.check`, and to which it writes the answers, each a line; after one of
:mod:`kcms.gateway.pour`, whose answer is a file, it ends.  When the other end of the pair closes,
this ends.  Children do not depend on it: each ends with its stream, or by its own timer,
``seconds`` after it began or was asked last.

A fork takes a fortieth of the time of a new Python, which was most of a submission's.  What makes
it safe: this process has one thread, reads nothing that a user wrote, opens nothing, holds no
stream longer than the fork takes, and can do nothing but become users; a child is of one user, and
answers that user's gateway alone.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import socket
import sys

from kcms.gateway import become, check, pour

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
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
    """The child: become the user, and answer every request."""
    try:
        timer = become.Timer()
        timer.die_after(order["seconds"])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        become.become(order["name"], order["uid"], order["gid"])
        for request in lines(stream):
            timer.die_after(order["seconds"])
            asked = json.loads(request)
            if "act" in asked:
                pour.pour(asked, stream)
                return
            say(stream, check.answer(asked))
    except Exception as error:  # noqa: BLE001 - whatever it is, the gateway is to hear of it
        say(stream, {"failed": f"{type(error).__name__}: {error}"})


def lines(stream: int) -> Iterator[bytes]:
    """What comes, line by line, to its end."""
    left = b""
    while part := os.read(stream, 65536):
        *whole, left = (left + part).split(b"\n")
        yield from whole


def say(stream: int, answer: dict[str, Any]) -> None:
    """Write all of an answer; that nobody waits for it any more is no trouble."""
    left = json.dumps(answer).encode() + b"\n"
    try:
        while left:
            left = left[os.write(stream, left) :]
    except BrokenPipeError:
        pass


if __name__ == "__main__":
    sys.exit(main())
