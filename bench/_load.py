"""Requests over connections that stay open, as fast as one thread for each can have them answered.

Of HTTP only what both sides speak: a request with its length, an answer with its length.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence

Connect = Callable[[], socket.socket]


class Connection:
    """One connection; statuses other than 200 to 202 are an error."""

    def __init__(self, connect: Connect) -> None:
        self._socket = connect()
        self._left = b""

    def send(self, requests: bytes) -> None:
        self._socket.sendall(requests)

    def receive(self) -> bytes:
        """The body of the next answer.  :raises SystemExit: the connection ended, or a refusal"""
        while (end := self._left.find(b"\r\n\r\n")) < 0:
            self._more()
        head = self._left[:end]
        if head.split(b" ", 2)[1] not in (b"200", b"201", b"202"):
            raise SystemExit(f"bench: refused: {self._left[:500]!r}")
        size = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        end += 4
        while len(self._left) < end + size:
            self._more()
        body, self._left = self._left[end : end + size], self._left[end + size :]
        return body

    def _more(self) -> None:
        part = self._socket.recv(1 << 18)
        if not part:
            raise SystemExit(f"bench: the connection ended after {self._left[:300]!r}")
        self._left += part

    def close(self) -> None:
        self._socket.close()


def unix(path: str) -> Connect:
    def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.connect(path)
        return made

    return connect


def tcp(address: str, port: int, context: ssl.SSLContext | None = None) -> Connect:
    def connect() -> socket.socket:
        made = socket.create_connection((address, port))
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return context.wrap_socket(made) if context else made

    return connect


def post(path: str, body: bytes, headers: Sequence[str] = ()) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: bench", *headers]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def in_turn(connect: Connect, requests: Sequence[bytes], connections: int = 1) -> float:
    """Requests a second, each connection with one under way; one thread a connection."""
    return _timed(connect, requests, connections, _each)


def pipelined(connect: Connect, requests: Sequence[bytes], depth: int) -> float:
    """Requests a second over one connection, ``depth`` of them under way."""
    return _timed(connect, requests, 1, lambda line, share: _ahead(line, share, depth))


def _each(line: Connection, requests: Sequence[bytes]) -> None:
    for each in requests:
        line.send(each)
        line.receive()


def _ahead(line: Connection, requests: Sequence[bytes], depth: int) -> None:
    line.send(b"".join(requests[:depth]))
    for at in range(len(requests)):
        line.receive()
        if at + depth < len(requests):
            line.send(requests[at + depth])


def _timed(
    connect: Connect,
    requests: Sequence[bytes],
    connections: int,
    work: Callable[[Connection, Sequence[bytes]], None],
) -> float:
    lines = [Connection(connect) for _ in range(connections)]
    failed: list[BaseException] = []

    def run(at: int) -> None:
        try:
            work(lines[at], requests[at::connections])
        except BaseException as error:  # noqa: BLE001 - told below, of whatever kind
            failed.append(error)

    threads = [threading.Thread(target=run, args=(at,)) for at in range(connections)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    for line in lines:
        line.close()
    if failed:
        raise SystemExit(f"bench: {failed[0]}")
    return len(requests) / took
