"""Who is calling, and in whose name: the rules, and the look-up in this host's user database."""

from __future__ import annotations

import asyncio
import pwd
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from kcms.errors import Forbidden, InvalidRequest, Unavailable

LOOKUP_SECONDS = 10.0
RECENT_SECONDS = 1.0
RECENT = 1024
SERVICES = frozenset(
    {"kcms-aggregator", "kcms-gateway", "kcms-manager", "kcms-monitor", "kcms-web"}
)
"""Accounts that daemons of KCMS run as; as themselves they may look, and own no work."""

T = TypeVar("T")


@dataclass(frozen=True)
class User:
    """A user of this host; ``gid`` is the primary group of the user database."""

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True)
class Caller:
    """``user`` is in whose name a call is made, ``peer_uid`` is whose process makes it."""

    user: User
    peer_uid: int
    named: bool  # the peer said whose name to use

    @property
    def is_root(self) -> bool:
        """Root, speaking for nobody else."""
        return self.peer_uid == 0 and not self.named


class UserDatabase:
    """Users by uid and by name, from NSS; an unmapped uid is nobody's.

    Who spoke in whose name is known for a second, as one who submits a thousand jobs is looked up
    a thousand times otherwise.
    """

    def __init__(self, overflow_uid: int | None = None) -> None:
        self._overflow = _overflow_uid() if overflow_uid is None else overflow_uid
        self._recent: dict[tuple[int, str | None], tuple[float, Caller]] = {}

    def recent(self, uid: int, wanted: str | None) -> Caller | None:
        """What :func:`caller` found a moment ago."""
        until, found = self._recent.get((uid, wanted), (0.0, None))
        return found if time.monotonic() < until else None

    def remember(self, uid: int, wanted: str | None, found: Caller) -> None:
        if len(self._recent) >= RECENT:
            self._recent.clear()
        self._recent[uid, wanted] = time.monotonic() + RECENT_SECONDS, found

    def by_uid(self, uid: int) -> User | None:
        """None also for the uid that stands for all ids this host cannot express."""
        if uid == self._overflow:
            return None
        return _found(lambda: pwd.getpwuid(uid))

    def by_name(self, name: str) -> User | None:
        return _found(lambda: pwd.getpwnam(name))


def _found(look: Callable[[], pwd.struct_passwd]) -> User | None:
    try:
        entry = look()
    except (KeyError, ValueError):
        return None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def _overflow_uid() -> int:
    return int(Path("/proc/sys/kernel/overflowuid").read_text(encoding="ascii"))


def caller(peer_uid: int, wanted: str | None, users: UserDatabase) -> Caller:
    """In whose name a process of ``peer_uid`` may speak that asks for ``wanted`` (None: its own).

    :raises Forbidden: the uid has no name here, or wants another's and is not root
    :raises InvalidRequest: root wants a name that nobody here has
    """
    if wanted is not None and peer_uid == 0:
        user = users.by_name(wanted)
        if user is None:
            raise InvalidRequest(f"there is no user {wanted!r} on this host")
        return Caller(user, peer_uid, named=True)
    peer = users.by_uid(peer_uid)
    if peer is None:
        raise Forbidden(f"uid {peer_uid} has no name on this host, so it can own no jobs")
    if wanted not in (None, peer.name):
        raise Forbidden(f"only root may act for another user, and {peer.name} is not root")
    return Caller(peer, peer_uid, named=wanted is not None)


def require_person(who: Caller) -> None:
    """:raises Forbidden: it is a daemon, which changes something by a user's login only"""
    if who.user.name in SERVICES:
        raise Forbidden(
            f"{who.user.name} is a service of KCMS: it changes nothing but for a user's login"
        )


def submitter(who: Caller) -> User:
    """:raises Forbidden: root did not say whose job it is"""
    if who.is_root:
        raise Forbidden("root must say whose job this is: --user NAME or user: NAME")
    return who.user


@dataclass(frozen=True)
class Lister:
    """In whose name to list; ``unknown`` is a name wanted that nobody has on this host."""

    user: User
    unknown: str | None = None


def lister(who: Caller, wanted: str | None, users: UserDatabase) -> Lister:
    """In whose name to list what is ``wanted``'s (None: whatever the caller may see).

    Root of a node sees what is a local user's by being that user, as it could anyway; the root
    of the grid gets the same list either way.

    :raises Forbidden: another's is wanted, and the caller is not root
    """
    if wanted in (None, "", who.user.name):
        return Lister(who.user)
    if not who.is_root:
        raise Forbidden(f"only root may list the jobs of others, and {who.user.name} is not root")
    user = users.by_name(str(wanted))
    return Lister(who.user, unknown=wanted) if user is None else Lister(user)


def local_user(users: UserDatabase, name: str, uid: int, gid: int | None = None) -> User:
    """The user of this host who is that one of the grid; any group will do for None.

    :raises Forbidden: there is none, or this host has other ids for the name
    """
    user = users.by_name(name)
    if user is None:
        raise Forbidden(f"{name} has no account on this host")
    if user.uid != uid:
        raise Forbidden(
            f"{name} has uid {user.uid} on this host, and {uid} where the manager heard of "
            f"{name}: make them the same"
        )
    if gid not in (None, user.gid):
        raise Forbidden(
            f"{name} has group {user.gid} on this host, and {gid} where the password was set: "
            "run kcms web-password again"
        )
    return user


async def in_time(look: Callable[[], T]) -> T:
    """Run a look-up beside the loop: a directory server that hangs must not stop the others."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(look), LOOKUP_SECONDS)
    except TimeoutError as error:
        raise Unavailable(
            f"this host's user database did not answer within {LOOKUP_SECONDS:g} s"
        ) from error
