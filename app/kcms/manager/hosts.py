"""The hosts that may speak to the manager, and with which roles: a file that the rollout writes."""

from __future__ import annotations

import ipaddress
import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kcms.errors import ConfigError, Conflict
from kcms.tls import ROLES, Identity

log = logging.getLogger("kcms.manager.hosts")


@dataclass(frozen=True)
class Listing:
    """What the file says: ``nodes`` in its order, ``addresses`` of nodes and whose they are, and
    where the ``gateways`` of hosts listen for each other."""

    identities: frozenset[Identity] = frozenset()
    nodes: tuple[str, ...] = ()
    addresses: dict[str, str] = field(default_factory=dict)
    gateways: dict[str, tuple[str, int]] = field(default_factory=dict)


def parse(document: Any) -> Listing:
    """``{"hosts": {NAME: {"roles": [ROLE, …], "address": ADDRESS, "gateway_port": PORT}}}``; no
    address and no port is needed.

    :raises ConfigError: not such a document
    """
    try:
        roles = {
            name: frozenset(_role(role) for role in host["roles"])
            for name, host in document["hosts"].items()
        }
        nodes = tuple(name for name, held in roles.items() if "node" in held)
        addresses: dict[str, str] = {}
        for name in nodes:
            address = document["hosts"][name].get("address")
            if address is not None:
                addresses.setdefault(plain_address(address), name)
        gateways = {
            name: (plain_address(host["address"]), int(host["gateway_port"]))
            for name, host in document["hosts"].items()
            if host.get("gateway_port")
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigError(f"not a list of hosts: {error!r}") from error
    held = frozenset(Identity(role, name) for name, each in roles.items() for role in each)
    return Listing(held, nodes, addresses, gateways)


def plain_address(address: str) -> str:
    """One way to write an address; what is none stays as it is.  :raises TypeError: no text"""
    if not isinstance(address, str):
        raise TypeError(f"an address must be text, not {address!r}")
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(found, "ipv4_mapped", None) or found)


def _role(role: Any) -> str:
    if role not in ROLES:
        raise ConfigError(f"unknown role {role!r}; known are {', '.join(sorted(ROLES))}")
    return str(role)


class Hosts:
    """The file, read again whenever it changes; a bad one leaves the last good one in force."""

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._stamp: tuple[int, ...] | None = ()
        self._listing = Listing()
        self._trouble = ""

    def require(self) -> None:
        """:raises ConfigError: the file cannot be used, and no good one was read before"""
        self.listing()
        if self._trouble:
            raise ConfigError(
                f"the list of hosts {self._path} cannot be used: {self._trouble}; "
                "run the site playbook for this host again"
            )

    def listing(self) -> Listing:
        stamp = self._look()
        if stamp != self._stamp:
            self._stamp, self._trouble = stamp, ""
            try:
                self._listing = parse(json.loads(self._path.read_text(encoding="utf-8")))
            except (OSError, ValueError, ConfigError) as error:
                self._trouble = getattr(error, "strerror", None) or str(error)
                log.error("the list of hosts %s is not used: %s", self._path, self._trouble)
        return self._listing

    def identities(self) -> frozenset[Identity]:
        return self.listing().identities

    def nodes(self) -> frozenset[str]:
        return frozenset(self.listing().nodes)

    def node_called(self, text: str) -> str | None:
        """The node with this name or address; None when there is none."""
        listing = self.listing()
        return text if text in listing.nodes else listing.addresses.get(plain_address(text))

    def gateway_of(self, host: str) -> tuple[str, int]:
        """Where the gateway of a host listens for others.  :raises Conflict: it does not"""
        found = self.listing().gateways.get(host)
        if found is None:
            raise Conflict(
                f"the gateway of {host} listens to no other: run the site playbook for it"
            )
        return found

    def _look(self) -> tuple[int, ...] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino)
