"""Checksums that a head makes, by a shell of this machine."""

from __future__ import annotations

import hashlib
import io
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kcms.via.session import Session

CONTENT = b"what a job has written\n"


class Channel:
    """A command, as sshd runs it."""

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def settimeout(self, _: float) -> None:
        pass

    def exec_command(self, command: str) -> None:
        done = subprocess.run(["sh", "-c", command], capture_output=True, check=False)
        self._status, self._said = done.returncode, io.BytesIO(done.stdout)

    def recv(self, size: int) -> bytes:
        return self._said.read(size)

    def recv_exit_status(self) -> int:
        return self._status


class Transport:
    def is_active(self) -> bool:
        return True

    def open_session(self, timeout: float) -> Channel:
        return Channel()

    def open_sftp_client(self) -> Any:
        return SimpleNamespace(open=refused)


def refused(path: str, mode: str) -> Any:
    raise PermissionError(13, "Permission denied")


@pytest.fixture
def session() -> Session:
    client = SimpleNamespace(get_transport=Transport)
    paramiko = SimpleNamespace(SSHException=ValueError)
    return Session(paramiko, "head", client, lambda: None)


@pytest.mark.parametrize("name", ["out", "-n", "it's $(a) name", "two\nlines"])
def test_a_checksum_is_of_so_many_bytes(session: Session, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENT)
    found = session.digest(str(tmp_path / name), 6)
    assert found == hashlib.sha256(CONTENT[:6]).hexdigest()


@pytest.mark.parametrize("name", ["missing", "."])
def test_what_cannot_be_read_there_has_no_checksum(
    session: Session, tmp_path: Path, name: str
) -> None:
    with pytest.raises(PermissionError):  # of the file itself, and not that of nothing
        session.digest(str(tmp_path / name), 6)
