"""Whether a task's user is the same person here as where the job was submitted."""

from __future__ import annotations

import os
import pwd
from dataclasses import asdict, dataclass
from typing import Any

from kcms.errors import Forbidden
from kcms.jobs.model import WantedTask

UNMAPPED = frozenset({65534, 2**32 - 1, -1})
"""Ids that the kernel shows for a user it cannot name."""


@dataclass(frozen=True)
class Account:
    """What the task's init needs of the user; it asks no name service itself."""

    home: str
    shell: str
    groups: list[int]

    def document(self) -> dict[str, Any]:
        return asdict(self)


def resolve(wanted: WantedTask, host: str) -> Account:
    """The account on this host.  :raises Forbidden: unknown, other ids, or root without right"""
    if wanted.uid in UNMAPPED or wanted.gid in UNMAPPED:
        raise Forbidden(f"user {wanted.user} has no id of its own where the job was submitted")
    try:
        found = pwd.getpwnam(wanted.user)
    except (KeyError, ValueError) as error:
        raise Forbidden(f"user {wanted.user} is unknown on {host}") from error
    for kind, here, there in (
        ("uid", found.pw_uid, wanted.uid),
        ("gid", found.pw_gid, wanted.gid),
    ):
        if here != there:
            raise Forbidden(
                f"user {wanted.user} has {kind} {here} on {host} but {there} where the job was "
                "submitted; make them the same"
            )
    if wanted.uid == 0 and wanted.user != "root":
        raise Forbidden(f"user {wanted.user} is another name of root on {host}")
    groups = os.getgrouplist(wanted.user, found.pw_gid)
    return Account(found.pw_dir or "/", found.pw_shell or "/bin/sh", sorted(set(groups)))
