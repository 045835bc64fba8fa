"""A file of a job on the node that ran it, as :mod:`kcms.via.transfer` fetches one of a head."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from kcms.client import ClientError
from kcms.stage.far import FarFile, Stream
from kcms.via.errors import ViaError

NOBODY = -1
"""The owner of a file that is not the fetching user's there."""


class FarHead:
    """A host that has one file alone: ``source``, of task ``index`` on ``name``."""

    def __init__(self, name: str, source: FarFile) -> None:
        self.name = name
        self.files = self
        self._source = source

    def stat(self, path: str) -> Any:
        """:raises OSError: there is no such file, or it cannot be had"""
        if path == ".":
            return SimpleNamespace(st_uid=os.geteuid())
        try:
            about = self._source.look(0)
        except ClientError as error:
            if error.code == "not_found":
                raise FileNotFoundError(2, error.message) from error
            raise
        owner = os.geteuid() if about["own"] else NOBODY
        mode = stat.S_IFREG | int(about["mode"])
        return SimpleNamespace(st_size=int(about["size"]), st_mode=mode, st_uid=owner)

    def digest(self, path: str, size: int) -> str:
        return str(self._source.look(size)["digest"])

    def open(self, path: str, mode: str) -> FarReader:
        return FarReader(self._source)

    def close(self) -> None:
        """Each reading has a connection of its own."""

    @contextlib.contextmanager
    def explained(self, doing: str) -> Iterator[None]:
        """:raises ViaError: in place of what kept the connection from being used"""
        try:
            yield
        except OSError as error:
            if error.filename is not None:
                raise  # of a file of this machine
            why = error.strerror or str(error) or "the connection broke"
            raise ViaError(f"cannot {doing} on {self.name}: {why}") from error


class FarReader:
    """What :func:`kcms.via.transfer.get` needs of paramiko's file."""

    MAX_REQUEST_SIZE = 0

    def __init__(self, source: FarFile) -> None:
        self._source = source
        self._begin = 0
        self._stream: Stream | None = None

    def seek(self, offset: int) -> None:
        self._begin = offset

    def prefetch(self, size: int) -> None:
        self._stream = self._source.read(self._begin, size)

    def read(self, size: int) -> bytes:
        return self._stream.recv(size) if self._stream is not None else b""

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
