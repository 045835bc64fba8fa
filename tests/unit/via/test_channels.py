"""A channel as the client uses it, and who is to blame when it ends."""

from __future__ import annotations

import io
from typing import Any

import pytest

from kcms.client import ClientError
from kcms.via.channels import Line


class Channel:
    """paramiko's, with an answer, and a complaint of what runs at the other end."""

    def __init__(self, *parts: bytes, alive: bool = True, status: int = 0, said: str = "") -> None:
        self._parts = list(parts)
        self._alive = alive
        self._status = status
        self._said = said
        self.closed = False

    def recv(self, size: int) -> bytes:
        return self._parts.pop(0) if self._parts else b""

    def sendall(self, data: bytes) -> None:
        raise OSError("Socket is closed")

    def get_transport(self) -> Channel:
        return self

    def is_active(self) -> bool:
        return self._alive

    def makefile_stderr(self, mode: str) -> Any:
        return io.BytesIO(self._said.encode())

    def recv_exit_status(self) -> int:
        return self._status

    def close(self) -> None:
        self.closed = True


def test_an_answer_ends_with_its_channel() -> None:
    channel = Channel(b"ab", b"c")
    with Line(channel, "head", relayed=False) as line:
        assert [line.recv(9), line.recv(9), line.recv(9)] == [b"ab", b"c", b""]
    assert channel.closed


def test_a_connection_that_broke_is_not_taken_for_the_end_of_an_answer() -> None:
    line = Line(Channel(b"ab", alive=False), "head", relayed=False)
    assert line.recv(9) == b"ab"
    with pytest.raises(ClientError, match="the SSH connection to head broke") as caught:
        line.recv(9)
    assert caught.value.code == "disconnected"  # nobody waits for it to come back


def test_what_cannot_be_sent_may_have_an_answer() -> None:
    with pytest.raises(BrokenPipeError):
        Line(Channel(), "head", relayed=False).sendall(b"x")
    with pytest.raises(ClientError, match="broke"):
        Line(Channel(alive=False), "head", relayed=False).sendall(b"x")


@pytest.mark.parametrize(
    ("status", "said", "told"),
    [
        (1, "Hello!\nkcms: no gateway on this host\n", "it says: no gateway on this host"),
        (127, "bash: kcms: command not found\n", "AllowStreamLocalForwarding"),
        (3, "", "exit status 3"),
    ],
)
def test_a_relay_that_fails_says_why(status: int, said: str, told: str) -> None:
    line = Line(Channel(status=status, said=said), "head", relayed=True)
    with pytest.raises(ClientError, match=told) as caught:
        line.recv(9)
    assert caught.value.code == "unavailable"  # it may be starting again


def test_a_relay_that_has_handed_on_an_answer_has_nothing_to_say() -> None:
    line = Line(Channel(b"answer", status=1, said="late"), "head", relayed=True)
    assert [line.recv(9), line.recv(9)] == [b"answer", b""]
