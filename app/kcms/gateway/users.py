"""Who is calling, and in whose name: the rules, and the look-up in this host's user database."""

from __future__ import annotations

import asyncio
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kcms.errors import Forbidden, InvalidRequest, Unavailable

LOOKUP_SECONDS = 10.0


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
    """Users by uid and by name, from NSS; an unmapped uid is nobody's."""

    def __init__(self, overflow_uid: int | None = None) -> None:
        self._overflow = _overflow_uid() if overflow_uid is None else overflow_uid

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


def submitter(who: Caller) -> User:
    """:raises Forbidden: root did not say whose job it is"""
    if who.is_root:
        raise Forbidden("root must say whose job this is: --user NAME or user: NAME")
    return who.user


def lister(who: Caller, wanted: str | None, users: UserDatabase) -> User:
    """In whose name to list the jobs of ``wanted`` (None: whatever the caller may see).

    Root of a node sees the jobs of a local user by being that user, as it could anyway; the root
    of the grid gets the same list either way.

    :raises Forbidden: another's jobs are wanted, and the caller is not root
    """
    if wanted in (None, who.user.name):
        return who.user
    if not who.is_root:
        raise Forbidden(f"only root may list the jobs of others, and {who.user.name} is not root")
    return users.by_name(str(wanted)) or who.user


async def in_time(look: Callable[[], Caller]) -> Caller:
    """Run a look-up beside the loop: a directory server that hangs must not stop the others."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(look), LOOKUP_SECONDS)
    except TimeoutError as error:
        raise Unavailable(
            f"this host's user database did not answer within {LOOKUP_SECONDS:g} s"
        ) from error
