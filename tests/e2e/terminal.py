"""``kcms run`` in an ssh session, as a user has one: with a terminal, or with three streams."""

from __future__ import annotations

import re
import shlex
import time

import paramiko

from tests.e2e.grid import Grid

PATIENCE = 60.0


class Session:
    """One command of an ssh session."""

    def __init__(self, client: paramiko.SSHClient, command: str, size: tuple[int, int] | None):
        transport = client.get_transport()
        assert transport is not None
        self.channel = transport.open_session()
        self.output = b""
        if size is not None:
            self.channel.get_pty("xterm", *size)
        self.channel.settimeout(PATIENCE)
        self.channel.exec_command(command)

    def until(self, pattern: str) -> re.Match[bytes]:
        """Read until the output has this; it is dropped up to there."""
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern.encode(), self.output)):
            assert time.monotonic() < end, f"waited for {pattern}: {self.output!r}"
            part = self.channel.recv(65536)
            assert part, f"no {pattern} in {self.output!r} {self.errors()!r}"
            self.output += part
        self.output = self.output[found.end() :]
        return found

    def type(self, text: bytes) -> None:
        self.channel.sendall(text)

    def rest(self) -> bytes:
        """All the output there is, up to its end."""
        parts = [self.output]
        while part := self.channel.recv(1 << 20):
            parts.append(part)
        self.output = b""
        return b"".join(parts)

    def errors(self) -> bytes:
        parts = []
        while self.channel.recv_stderr_ready() and (part := self.channel.recv_stderr(65536)):
            parts.append(part)
        return b"".join(parts)

    def status(self) -> int:
        return self.channel.recv_exit_status()


def terminal(client: paramiko.SSHClient, *words: str, size: tuple[int, int] = (80, 24)) -> Session:
    """``kcms run`` with these words, in a terminal of that many columns and rows."""
    return Session(client, shlex.join(("kcms", "run", *words)), size)


def piped(client: paramiko.SSHClient, *words: str) -> Session:
    return Session(client, shlex.join(("kcms", "run", *words)), None)


def newest_job(grid: Grid) -> int:
    return int(grid.jobs("alpha")[-1]["id"])
