"""System groups and users of one host: what is missing, and the commands that add it.

Accounts are only ever added or given further groups; nothing here removes one, because files of
its id may lie anywhere.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field


class HostError(Exception):
    """Something on this host stands in the way; one line says what, and what would be right."""


@dataclass(frozen=True)
class User:
    """A system user with a group of its own name.

    ``groups`` are further groups it must be in; those it has besides are left alone.
    """

    name: str
    home: str = "/nonexistent"
    shell: str = "/usr/sbin/nologin"
    comment: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Accounts:
    """The accounts there are: group names, and for each user the groups that name it a member."""

    groups: frozenset[str] = frozenset()
    users: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, groups: Iterable[str], users: Iterable[str]) -> Accounts:
        """Those of the named ones that this host knows, from local files or a directory service.

        Each is asked for by name: a directory service need not list all it has.
        """
        users = set(users)
        names = {*groups, *users}
        return cls(
            frozenset(name for name in names if gid_of(name) is not None),
            {name: _groups_of(name) for name in users if uid_of(name) is not None},
        )


@dataclass(frozen=True)
class AccountStep:
    """One command that brings the accounts nearer to what is wanted, and what to call it."""

    label: str
    command: tuple[str, ...]


def plan_accounts(
    groups: Sequence[str], users: Sequence[User], there: Accounts
) -> list[AccountStep]:
    """The steps from the accounts that are there to those wanted, in the order to take them."""
    wanted = list(dict.fromkeys([*groups, *(user.name for user in users)]))
    steps = [
        AccountStep(f"group {name}", ("groupadd", "--system", name))
        for name in wanted
        if name not in there.groups
    ]
    for user in users:
        step = _user_step(user, there)
        if step:
            steps.append(step)
    return steps


def _user_step(user: User, there: Accounts) -> AccountStep | None:
    if user.name in there.users:
        missing = sorted(set(user.groups) - there.users[user.name])
        if not missing:
            return None
        append = ("usermod", "--append", "--groups", ",".join(missing), user.name)
        return AccountStep(f"user {user.name}", append)
    command = ["useradd", "--system", "--no-create-home", "--gid", user.name]
    command += ["--home-dir", user.home, "--shell", user.shell, "--comment", user.comment]
    if user.groups:
        command += ["--groups", ",".join(user.groups)]
    return AccountStep(f"user {user.name}", (*command, user.name))


def _groups_of(user: str) -> frozenset[str]:
    found = set()
    for gid in os.getgrouplist(user, pwd.getpwnam(user).pw_gid):
        with suppress(KeyError):
            found.add(grp.getgrgid(gid).gr_name)
    return frozenset(found)


def uid_of(name: str) -> int | None:
    """The id of a user, or None when this host knows no such user."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def gid_of(name: str) -> int | None:
    """The id of a group, or None when this host knows no such group."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
