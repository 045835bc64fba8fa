"""The hosts that may speak to the manager, and with which roles: a file that the rollout writes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from kcms.errors import ConfigError
from kcms.tls import ROLES, Identity

log = logging.getLogger("kcms.manager.hosts")


def parse(document: Any) -> frozenset[Identity]:
    """The identities in ``{"hosts": {NAME: {"roles": [ROLE, …]}}}``.

    :raises ConfigError: not such a document
    """
    try:
        return frozenset(
            Identity(_role(role), name)
            for name, host in document["hosts"].items()
            for role in host["roles"]
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"not a list of hosts: {error!r}") from error


def _role(role: Any) -> str:
    if role not in ROLES:
        raise ConfigError(f"unknown role {role!r}; known are {', '.join(sorted(ROLES))}")
    return str(role)


class Hosts:
    """The file, read again whenever it changes; a bad one leaves the last good one in force."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stamp: tuple[int, ...] | None = ()
        self._identities: frozenset[Identity] = frozenset()
        self._trouble = ""

    def require(self) -> None:
        """:raises ConfigError: the file cannot be used, and no good one was read before"""
        self.identities()
        if self._trouble:
            raise ConfigError(
                f"the list of hosts {self._path} cannot be used: {self._trouble}; "
                "run the site playbook for this host again"
            )

    def identities(self) -> frozenset[Identity]:
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp, self._trouble = stamp, ""
            try:
                self._identities = parse(json.loads(self._path.read_text(encoding="utf-8")))
            except (OSError, ValueError, ConfigError) as error:
                self._trouble = getattr(error, "strerror", None) or str(error)
                log.error("the list of hosts %s is not used: %s", self._path, self._trouble)
        return self._identities

    def nodes(self) -> frozenset[str]:
        return frozenset(each.name for each in self.identities() if each.role == "node")

    def _look(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)
