"""How copied streams end: who left for good is said to have, whatever was under way."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from kcms.attach.chunks import END, chunk
from kcms.gateway import streams
from kcms.gateway.streams import Pair, join_user


async def pair(sock: socket.socket) -> Pair:
    return Pair(*await asyncio.open_unix_connection(sock=sock))


class Joined:
    """A user's socket and another gateway's, which join_user copies between."""

    async def begin(self) -> None:
        self.user, near = socket.socketpair()
        self.other, far = socket.socketpair()
        self.user.setblocking(False)
        self.other.setblocking(False)
        self.task = asyncio.create_task(join_user(await pair(near), await pair(far)))

    async def heard(self) -> bytes:
        """What the other gateway gets until the end."""
        loop, parts = asyncio.get_running_loop(), []
        with contextlib.suppress(ConnectionError):
            while part := await loop.sock_recv(self.other, 1 << 16):
                parts.append(part)
                if b"".join(parts).endswith(END):
                    break
        return b"".join(parts)


@pytest.fixture
async def joined() -> Joined:
    made = Joined()
    await made.begin()
    return made


@pytest.mark.parametrize("output", [0, 1, 400])
async def test_a_user_who_dies_has_left_for_good(joined: Joined, output: int) -> None:
    """Unread output makes it a reset, not an end."""
    loop = asyncio.get_running_loop()

    async def flood() -> None:
        for _ in range(output):
            await loop.sock_sendall(joined.other, chunk(b"y\n" * 8000))

    flooding = asyncio.create_task(flood())
    await loop.sock_sendall(joined.user, b"hello")
    await asyncio.sleep(0.2)
    joined.user.close()
    async with asyncio.timeout(10):
        assert await joined.heard() == chunk(b"hello") + END
        await flooding  # all is taken, for nothing to be reset
        joined.other.close()
        await joined.task


async def test_one_who_does_not_close_after_the_mark_is_left(
    joined: Joined, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "END_SECONDS", 0.1)
    joined.user.close()
    async with asyncio.timeout(5):
        assert await joined.heard() == END
        await joined.task
    joined.other.close()


async def test_a_gateway_that_is_stopped_leaves_no_mark(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(joined.user, b"hello")
    await asyncio.sleep(0.1)
    joined.task.cancel()
    async with asyncio.timeout(5):
        assert await joined.heard() == chunk(b"hello")
        assert await loop.sock_recv(joined.user, 10) == b""
    joined.user.close()
    joined.other.close()


async def test_the_end_of_the_job_is_that_of_the_connection(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(joined.other, chunk(b"bye") + END)
    async with asyncio.timeout(5):
        assert await loop.sock_recv(joined.user, 10) == b"bye"
        assert await loop.sock_recv(joined.user, 10) == b""
        await joined.task
    joined.user.close()
    joined.other.close()
