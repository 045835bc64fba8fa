"""``[USER@]HEAD[:PORT]``, as ``--via`` takes it.  Pure."""

from __future__ import annotations

import re

RIGHT = "[USER@]HEAD[:PORT]"
HOST = re.compile(r"[A-Za-z0-9_.:%][A-Za-z0-9_.:%-]*")
USER = re.compile(r"[A-Za-z0-9_.@%+][A-Za-z0-9_.@%+-]*")
"""Nothing that a shell understands: ``Match exec`` and ``ProxyCommand`` give both to one."""


class Target:
    """What was asked for; a user or port that was not named is None."""

    def __init__(self, host: str, user: str | None = None, port: int | None = None) -> None:
        self.host = host
        self.user = user
        self.port = port


def parse(text: str) -> Target:
    """:raises ValueError: it is no target, in one line"""
    user, at, place = text.rpartition("@")
    host, port = _split(text, place)
    if not HOST.fullmatch(host) or (at and not USER.fullmatch(user)):
        raise ValueError(f"must be {RIGHT}, not {text!r:.100}")
    return Target(host, user or None, port)


def _split(text: str, place: str) -> tuple[str, int | None]:
    if place.startswith("["):
        host, found, rest = place[1:].partition("]")
        if not found or (rest and not rest.startswith(":")):
            raise ValueError(f"must be {RIGHT}, not {text!r:.100}")
        return host, _port(rest[1:]) if rest else None
    host, colon, rest = place.partition(":")
    if ":" in rest:
        raise ValueError(f"must have an IPv6 address in brackets, as [::1]:22, not {text!r:.100}")
    return host, _port(rest) if colon else None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise ValueError(f"must have a port from 1 to 65535, not {text!r:.100}")
    return int(text)
