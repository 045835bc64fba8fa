"""Mutual TLS between machines: contexts, and the identities that certificates carry.

A certificate of the site's CA names its holder by URIs ``kcms://ROLE/NAME`` in subjectAltName;
see docs/architecture.md for the roles.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any

from kcms.errors import ConfigError, Forbidden

ROLES = frozenset({"node", "submit", "admin", "manager"})


@dataclass(frozen=True)
class Identity:
    """Who a certificate speaks for: a role and the name of a host (or, for managers, a cluster)."""

    role: str
    name: str


def server_context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """A context that serves with ``certificate`` and accepts only peers signed by ``ca``."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, ca, certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """A context that calls with ``certificate``.

    The server is known by its role URI (:func:`require_identity`), not by a host name: managers
    are reached by address.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT, ca, certificate, key)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _context(protocol: int, ca: str, certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(cafile=ca)
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"cannot use the certificate files {ca}, {certificate}, {key}: {error}; "
            "run the site playbook for this host again"
        ) from error
    return context


def identities(peer_certificate: dict[str, Any] | None) -> frozenset[Identity]:
    """The identities in what ``SSLObject.getpeercert()`` returned."""
    found = set()
    for kind, value in (peer_certificate or {}).get("subjectAltName", ()):
        scheme, _, rest = value.partition("://")
        role, _, name = rest.partition("/")
        if kind == "URI" and scheme == "kcms" and role in ROLES and name:
            found.add(Identity(role, name))
    return frozenset(found)


def require_identity(peer_certificate: dict[str, Any] | None, wanted: Identity) -> None:
    """:raises Forbidden: the peer's certificate does not carry ``wanted``"""
    if wanted not in identities(peer_certificate):
        raise Forbidden(f"the peer's certificate is not that of {wanted.role} {wanted.name}")
