"""Has files of users read by children that are those users, and sends them to other gateways."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from kcms.attach.chunks import END, chunk
from kcms.errors import Forbidden, ProtocolError, Unavailable
from kcms.gateway.children import Children
from kcms.gateway.peers import accept
from kcms.gateway.streams import PART, Pair, both
from kcms.gateway.users import UserDatabase, in_time, local_user
from kcms.jobs.members import Members

LIFE = 6 * 3600.0
"""Seconds after which the kernel ends a child, however slow whoever takes the file is."""

STALL = 60.0  # seconds in which nothing is taken, until a stream ends
AT_ONCE = 16  # of one user; each is a process
WAITING = 16  # of one user besides: each is a connection, and a host has so many to another
IN_ALL = 128
TURN_SECONDS = 20.0
BUSY = "too many files are being read there at once: try again"


class Busy(Unavailable):
    """There are as many readers as there may be; whoever waits will have a turn (HTTP 503)."""

    code = "busy"


class Pourer:
    """Reads files as their users, in bounded number."""

    def __init__(self, children: Children, users: UserDatabase) -> None:
        self._children = children
        self._users = users
        self._turns = Turns({}, {})

    async def serve(self, peer: Pair, claims: Mapping[str, Any]) -> None:
        """Another gateway, and what its ticket is for: :data:`kcms.gateway.peers.Serve`."""
        try:
            row = Members(dict(claims), "ticket")
            whose = row.text("user"), row.whole("uid")
            request = request_of(row)
        except ProtocolError as error:
            raise Unavailable(f"the manager's answer is no file of a job: {error}") from error
        async with Turn(self._turns, whose[1]):
            source = await self.open(*whose, request)
            try:
                await accept(peer)
            except BaseException:
                source.abort()
                raise
            await both(peer, source, _to_peer(source, peer), _left(peer))

    async def pour(self, user: Pair, name: str, uid: int, request: dict[str, Any]) -> None:
        """The same for a user of this host.  :raises KcmsError: it cannot begin"""
        async with Turn(self._turns, uid):
            source = await self.open(name, uid, request)
            await both(user, source, _to_user(source, user), _left(user))

    async def open(self, name: str, uid: int, request: dict[str, Any]) -> Pair:
        """What a child that is the user answers.  :raises Forbidden: no such user here"""
        user = await in_time(lambda: local_user(self._users, name, uid))
        if user.uid == 0:
            raise Forbidden("files of root go nowhere by this way")
        if request.pop("staged"):
            request["home"] = user.home
        stream = await self._children.stream(user, json.dumps(request).encode(), LIFE)
        return Pair(*await asyncio.open_unix_connection(sock=stream))


def request_of(row: Members) -> dict[str, Any]:
    """The request of :mod:`kcms.gateway.pour`, from what a manager said.

    :raises ProtocolError: it is no such thing
    """
    return {
        "act": row.text("act"),
        "name": row.text("which"),
        "path": row.text("path"),
        "begin": row.whole_or_none("begin"),
        "size": row.whole_or_none("size"),
        "staged": row.members.get("staged") is True,
    }


class Turns(NamedTuple):
    """How many read, and wait to read, of each uid."""

    read: dict[int, int]
    wait: dict[int, int]


class Turn:
    """A place among those of one user and of all.  :raises Busy: there is none in time"""

    def __init__(self, turns: Turns, uid: int) -> None:
        self._turns = turns
        self._uid = uid

    async def __aenter__(self) -> None:
        if not self._is_free():
            await self._waited()
        _count(self._turns.read, self._uid, 1)

    async def __aexit__(self, *_: object) -> None:
        _count(self._turns.read, self._uid, -1)

    def _is_free(self) -> bool:
        read = self._turns.read
        return read.get(self._uid, 0) < AT_ONCE and sum(read.values()) < IN_ALL

    async def _waited(self) -> None:
        clock = asyncio.get_running_loop().time
        end, wait = clock() + TURN_SECONDS, self._turns.wait
        if wait.get(self._uid, 0) >= WAITING:
            raise Busy(BUSY)
        _count(wait, self._uid, 1)
        try:
            while not self._is_free():
                if clock() > end:
                    raise Busy(BUSY)
                await asyncio.sleep(0.1)
        finally:
            _count(wait, self._uid, -1)


def _count(counts: dict[int, int], uid: int, more: int) -> None:
    counts[uid] = counts.get(uid, 0) + more
    if not counts[uid]:
        del counts[uid]


async def _to_peer(source: Pair, peer: Pair) -> None:
    while data := await source.reader.read(PART):
        async with asyncio.timeout(STALL):
            await peer.write(chunk(data))
    await peer.write(END)


async def _to_user(source: Pair, user: Pair) -> None:
    while data := await source.reader.read(PART):
        async with asyncio.timeout(STALL):
            await user.write(data)


async def _left(other: Pair) -> None:
    """Until whoever takes the file has gone."""
    while await other.reader.read(PART):
        pass
