"""Who greets the process that serves a job's terminal with nonsense is told so; it serves on."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from kcms.attach import channel
from kcms.attach.chunks import Chunks, chunk
from kcms.node.relay import Relay, Served
from kcms.node.relay_connection import Connection

HELLO: dict[str, Any] = {"key": "0" * 32, "state": "00" * 16, "rows": 24, "columns": 80}


@pytest.fixture
def relay() -> Iterator[Relay]:
    with socket.socket(socket.AF_UNIX) as listener:
        go, told = os.pipe()
        yield Relay(Served(listener, (-1, -1, -1), told, go, False, ()))
        os.close(go)


def greeted(relay: Relay, payload: bytes) -> tuple[int, bytes]:
    """The answer to a greeting."""
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        new = Connection(near)
        relay.strangers.append(new)
        far.sendall(chunk(channel.frame(channel.HELLO, payload)))
        relay._greet(new)
        while new.unsent:
            new.write()
        (answer,) = channel.Reader().feed(Chunks().feed(far.recv(1 << 16)))
    return answer


@pytest.mark.parametrize(
    "payload",
    [
        b"no",
        b"[]",
        b"[" * 10_000,
        *(
            json.dumps({**HELLO, **wrong}).encode()
            for wrong in (
                {"rows": float("inf")},
                {"columns": float("-inf")},
                {"rows": float("nan")},
                {"rows": None},
                {"state": "zz"},
                {"state": 1},
            )
        ),
    ],
)
def test_a_greeting_that_is_none_is_refused(relay: Relay, payload: bytes) -> None:
    kind, why = greeted(relay, payload)
    assert kind == channel.REFUSED
    assert why.startswith(b"this is no kcms run: ")
    assert relay.key == ""
    assert greeted(relay, json.dumps(HELLO).encode())[0] == channel.WELCOME
