"""How a head is reached: what was asked for, and what the user's SSH configuration says.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kcms.errors import InvalidRequest
from kcms.via.target import Target, parse

PORT = 22
KNOWN_HOSTS = ("~/.ssh/known_hosts", "~/.ssh/known_hosts2")
SITE_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"


@dataclass(frozen=True)
class Route:
    """One SSH login.

    :param asked: the name the user knows it by, for messages
    :param key_name: the name its host key is kept under
    :param identities: private keys to try; empty for those that usually lie in ``~/.ssh``
    :param only_identities: try no key of the agent's
    :param known_hosts: files, ``~`` not yet expanded
    :param revoking: further files, of which nothing but revoked keys is heeded
    :param jumps: heads to go through, in order
    :param command: whose standard input and output lead to the head, in place of a connection
    """

    asked: str
    host: str
    port: int
    user: str
    key_name: str
    identities: tuple[str, ...] = ()
    only_identities: bool = False
    known_hosts: tuple[str, ...] = ()
    revoking: tuple[str, ...] = ()
    jumps: tuple[Target, ...] = ()
    command: str | None = None

    @property
    def name(self) -> str:
        """Who logs in where."""
        return f"{self.user}@{self.asked}"


def route(
    target: Target, told: Mapping[str, Any], me: str, known_hosts: str | None = None
) -> Route:
    """:param told: what the SSH configuration says of ``target.host``, keys in lower case
    :param me: the user's name on this machine
    :param known_hosts: the one file that is to be believed
    :raises InvalidRequest: the configuration says what cannot be
    """
    host, port = str(told.get("hostname") or target.host), target.port or _port(target, told)
    return Route(
        asked=target.host,
        host=host,
        port=port,
        user=target.user or str(told.get("user") or me),
        key_name=str(told.get("hostkeyalias") or "").lower() or key_name(host, port),
        identities=tuple(told.get("identityfile") or ()),
        only_identities=str(told.get("identitiesonly", "no")).lower() == "yes",
        known_hosts=_known_hosts(told, known_hosts),
        revoking=() if known_hosts is None else (SITE_KNOWN_HOSTS,),
        jumps=_jumps(target, told),
        command=_command(told),
    )


def key_name(host: str, port: int) -> str:
    """The name under which ``ssh`` keeps a host's key, too."""
    return host.lower() if port == PORT else f"[{host.lower()}]:{port}"


def _port(target: Target, told: Mapping[str, Any]) -> int:
    text = str(told.get("port", PORT))
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise InvalidRequest(f"the SSH configuration has no port for {target.host}, but {text!r}")
    return int(text)


def _known_hosts(told: Mapping[str, Any], given: str | None) -> tuple[str, ...]:
    if given is not None:
        return (given,)
    configured = str(told.get("userknownhostsfile", "")).split()
    return (*(configured or KNOWN_HOSTS), SITE_KNOWN_HOSTS)


def _jumps(target: Target, told: Mapping[str, Any]) -> tuple[Target, ...]:
    text = str(told.get("proxyjump") or "none")
    if text.lower() == "none":
        return ()
    try:
        return tuple(parse(each.strip().removeprefix("ssh://")) for each in text.split(","))
    except ValueError as error:
        raise InvalidRequest(f"the ProxyJump of {target.host} {error}") from None


def _command(told: Mapping[str, Any]) -> str | None:
    text = str(told.get("proxycommand") or "none")
    return None if text.lower() == "none" or told.get("proxyjump") else text


def included(line: str) -> Sequence[str]:
    """The files that a line of an SSH configuration takes in; none if it is another line."""
    words = line.replace("=", " ", 1).split()
    return (
        [each.strip('"') for each in words[1:]]
        if words[:1] and words[0].lower() == "include"
        else []
    )
