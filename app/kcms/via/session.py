"""A login at a head: connections to its gateway, files by SFTP, and checksums made there."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable
from typing import Any

from kcms.via.channels import RELAY, Line, lost, no_gateway, open_streamlocal
from kcms.via.errors import ViaError
from kcms.via.login import Login
from kcms.via.target import Target

BLOCK = 1 << 15
RUN_SECONDS = 600.0  # without a byte; a checksum of a large file on a slow disk takes its time
MOST_ANSWER = 4096
DIGEST = re.compile(rb"^([0-9a-f]{64}) ", re.MULTILINE)

SUM = '{ { head -c "$1" < "$2" || echo unread >&3; } | sha256sum; } 3>&1'
"""A pipe's status is that of its end, which would be content with nothing: so its begin says."""

UNREAD = b"unread"


class Session:
    """One SSH connection, for everything that a command does.

    :param name: the head, as the user called it
    :param client: paramiko's, logged in
    """

    def __init__(self, paramiko: Any, name: str, client: Any, end: Callable[[], None]) -> None:
        self._paramiko = paramiko
        self.name = name
        self._client = client
        self._end = end
        self._sftp: Any = None
        self._relayed = False  # sshd does not connect to sockets, a relay does

    @classmethod
    def open(cls, target: Target, known_hosts: str | None = None) -> Session:
        """Log in.  :raises ViaError: what kept the user out, in one line"""
        from kcms.via.login import load_paramiko

        login = Login(known_hosts)
        try:
            way, client = login.log_in(target)
        except BaseException:
            login.close()
            raise
        return cls(load_paramiko(), way.asked, client, login.close)

    def close(self) -> None:
        self._client.close()
        self._end()

    def gateway(self, path: str) -> Callable[[float], Line]:
        """What makes a connection to the gateway at ``path``, for :class:`kcms.client.Client`.

        Each of its calls has a channel of its own; the SSH connection is one for all.
        """

        def connect(timeout: float) -> Line:
            line = None if self._relayed else self._streamlocal(path, timeout)
            return self._relay(path, timeout) if line is None else line

        return connect

    def _streamlocal(self, path: str, timeout: float) -> Line | None:
        try:
            channel = open_streamlocal(self._paramiko, self._transport(), path)
        except (self._paramiko.ChannelException, AttributeError, TypeError):
            return None  # nothing there, or not allowed: sshd says the same of both
        except (self._paramiko.SSHException, EOFError, OSError) as error:
            raise self._trouble(error) from error
        channel.settimeout(timeout)
        return Line(channel, self.name, relayed=False)

    def _relay(self, path: str, timeout: float) -> Line:
        try:
            channel = self._transport().open_session(timeout=timeout)
            channel.settimeout(timeout)
            channel.exec_command(RELAY + shlex.quote(path))
        except (self._paramiko.SSHException, EOFError, OSError) as error:
            raise self._trouble(error) from error
        return Line(channel, self.name, relayed=True)

    def _transport(self) -> Any:
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise lost(self.name)
        return transport

    def _trouble(self, error: Exception) -> Exception:
        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            return lost(self.name)
        return no_gateway(self.name, f"sshd there opens no channel ({error})")

    @property
    def files(self) -> Any:
        """paramiko's SFTP client.  :raises ViaError: the head has no SFTP"""
        if self._sftp is None:
            try:
                self._sftp = self._transport().open_sftp_client()
            except (self._paramiko.SSHException, EOFError, OSError) as error:
                raise ViaError(f"{self.name} offers no SFTP: {error}") from error
        return self._sftp

    @contextlib.contextmanager
    def explained(self, doing: str) -> Any:
        """Turn whatever paramiko raises meanwhile into one line.  :raises ViaError:"""
        try:
            yield
        except (self._paramiko.SSHException, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise  # of a file of this machine
            self._transport()
            why = getattr(error, "strerror", None) or str(error) or "it does not say why"
            raise ViaError(f"cannot {doing} on {self.name}: {why}") from error

    def digest(self, path: str, size: int) -> str:
        """The SHA-256 of the first ``size`` bytes of a file there, made there if that can be."""
        status, said = self._run(f"sh -c {shlex.quote(SUM)} sum {size} {shlex.quote(path)}")
        found = DIGEST.findall(said) if status == 0 and UNREAD not in said.splitlines() else []
        return found[-1].decode() if found else self._reread(path, size)

    def _run(self, command: str) -> tuple[int, bytes]:
        channel = self._transport().open_session(timeout=RUN_SECONDS)
        with channel:
            channel.settimeout(RUN_SECONDS)
            channel.exec_command(command)
            said = b""
            while part := channel.recv(BLOCK):
                said = (said + part)[-MOST_ANSWER:]
            return int(channel.recv_exit_status()), said

    def _reread(self, path: str, size: int) -> str:
        """For an account that may run no command, as one for SFTP alone."""
        import hashlib

        made = hashlib.sha256()
        with self.files.open(path, "rb") as file:
            file.prefetch(size)
            while size > 0 and (part := file.read(min(BLOCK, size))):
                made.update(part)
                size -= len(part)
        return made.hexdigest()
