"""Where the CA and what it issued lie on the control node.

::

    DIRECTORY/ca.pem ca.key                  the CA
    DIRECTORY/hosts/HOST/SERVICE.pem .key    what it issued, so that a second run changes nothing

Directories are 0700 and keys 0600.  A certificate and its key are two files: the key is written
first, and a pair that does not belong together is issued anew.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.plugin_utils.ca_authority import (
    Authority,
    AuthorityError,
    Pair,
    Request,
)

RENEWED = "a new one was asked for"


@dataclass(frozen=True)
class Issued:
    """A certificate that stands, and why it was issued in this run (None: it was there)."""

    request: Request
    pair: Pair
    reason: str | None


@dataclass(frozen=True)
class Outcome:
    """The CA's certificate, whether it was made in this run, and all the leaves asked for."""

    ca: bytes
    ca_made: bool
    issued: list[Issued]

    @property
    def reasons(self) -> list[str]:
        """One line for each thing made (in check mode, that would be)."""
        made = ["ca: there is none"] if self.ca_made else []
        return made + [
            f"{each.request.host}/{each.request.service}: {each.reason}"
            for each in self.issued
            if each.reason
        ]


class Store:
    """The directory of one site's CA.  With ``check`` nothing is written, only made in memory."""

    def __init__(self, directory: Path, check: bool = False) -> None:
        self.directory = directory
        self.check = check

    def bring(
        self, grid: str, requests: list[Request], now: datetime, renew: bool = False
    ) -> Outcome:
        """Have a CA and a good certificate for every request; with ``renew`` a new one, too.

        :raises AuthorityError: the CA is damaged, or half of it is gone
        """
        if renew and self._read(self.directory / "ca") is None:
            raise AuthorityError(
                f"there is no CA in {self.directory}: renew where the grid was rolled out from"
            )
        with self._alone():
            authority, made = self._authority(grid, now)
            issued = [self._leaf(authority, request, now, renew) for request in requests]
        return Outcome(authority.pair().certificate, made, issued)

    def _authority(self, grid: str, now: datetime) -> tuple[Authority, bool]:
        where = self.directory / "ca"
        pair = self._read(where)
        if pair:
            return Authority.load(pair, str(self.directory)), False
        there = [path for path in _files(where) if path.exists()]
        if there:
            raise AuthorityError(
                f"{there[0]} is there without its other half: restore it from your copy of "
                f"{self.directory}, or move the directory away to begin with a new CA"
            )
        authority = Authority.make(grid, now)
        self._write(where, authority.pair())
        return authority, True

    def _leaf(self, authority: Authority, request: Request, now: datetime, renew: bool) -> Issued:
        where = self.directory / "hosts" / request.host / request.service
        pair = self._read(where)
        objection = authority.objection(pair, request, now) or (RENEWED if renew else None)
        if pair and not objection:
            return Issued(request, pair, None)
        new = authority.issue(request, now)
        self._write(where, new)
        return Issued(request, new, objection)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two rollouts at once must not make two CAs."""
        if self.check:
            yield
            return
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory.chmod(0o700)
        handle = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _read(self, where: Path) -> Pair | None:
        certificate, key = _files(where)
        try:
            return Pair(certificate.read_bytes(), key.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _write(self, where: Path, pair: Pair) -> None:
        if self.check:
            return
        where.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        certificate, key = _files(where)
        _replace(key, pair.key)
        _replace(certificate, pair.certificate)


def _files(where: Path) -> tuple[Path, Path]:
    return where.with_name(f"{where.name}.pem"), where.with_name(f"{where.name}.key")


def _replace(path: Path, content: bytes) -> None:
    """Write in one step; a file of mkstemp is 0600 from its first byte on."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as stream:  # noqa: PTH123 - a descriptor
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
