"""Tickets: what lets one gateway open a stream to another.  In memory; pure but for randomness.

The manager makes one for a gateway that may speak for the user, who may do what it is for; the
gateway at the other end hands it back, and hears what it was for.  It is good once, for a moment,
between these two hosts: who copies or guesses one gets nothing, and a host that was taken off the
list of hosts gets none.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kcms.errors import Forbidden, Unavailable

LIFE = 30.0  # seconds
MOST = 10_000
"""Tickets that are good at one time; each is some hundred bytes."""

ATTACH, FILE = "attach", "file"
OF_ONE = 256
"""Tickets for files of one user's jobs that are good at one time."""


@dataclass(frozen=True)
class Ticket:
    """For a stream of this ``kind``, from the gateway of ``source`` to that of ``target``."""

    kind: str
    source: str
    target: str
    claims: Mapping[str, Any]

    def same_way(self, other: Ticket) -> bool:
        """Whether both are for streams of one kind, from one host to one job, or for the same
        thing of it: a job has many files."""
        return _way(self) == _way(other)


def _way(ticket: Ticket) -> tuple[object, ...]:
    way = ticket.kind, ticket.source, ticket.claims.get("job")
    return (*way, ticket.target, dict(ticket.claims)) if ticket.kind == FILE else way


class Tickets:
    """The tickets that are good.

    :param clock: seconds, never set back
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._good: dict[bytes, tuple[float, Ticket]] = {}  # in the order of their ends

    def issue(self, ticket: Ticket) -> str:
        """Of those of a host for one job, or for one file of it, the last alone is good.

        :raises Unavailable: there are too many
        """
        self._drop_old()
        for digest in [each for each, (_, one) in self._good.items() if one.same_way(ticket)]:
            del self._good[digest]
        if len(self._good) >= MOST or self._has_enough(ticket):
            raise Unavailable("too many streams are being opened at once: try again in a moment")
        secret = secrets.token_urlsafe(32)
        self._good[_digest(secret)] = (self._clock() + LIFE, ticket)
        return secret

    def _has_enough(self, ticket: Ticket) -> bool:
        """Whether there are so many for files of its user that others are to be kept from harm."""
        if ticket.kind != FILE:
            return False
        whose = ticket.claims.get("uid")
        good = [one for _, one in self._good.values() if one.kind == FILE]
        return len([one for one in good if one.claims.get("uid") == whose]) >= OF_ONE

    def redeem(self, secret: str, source: str, target: str) -> Ticket:
        """What a ticket is for, that ``source`` showed to ``target``.

        :raises Forbidden: for nothing between these two, or not any more
        """
        self._drop_old()
        _, ticket = self._good.get(_digest(secret), (0.0, None))
        if ticket is None or (ticket.source, ticket.target) != (source, target):
            raise Forbidden("this ticket is not good (any more)")
        del self._good[_digest(secret)]
        return ticket

    def _drop_old(self) -> None:
        now = self._clock()
        for digest in [each for each, (end, _) in self._good.items() if end <= now]:
            del self._good[digest]


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
