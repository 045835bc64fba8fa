"""What the hosts of all labs share of this machine's kernel, and whether it is enough."""

from __future__ import annotations

import os
from pathlib import Path

from lab.errors import LabError

SETTING = "fs.inotify.max_user_instances"
PER_HOST = 5
"""Inotify instances that root's systemd holds in a host that is up, on Debian 12 and 13."""

SPARE = 3
"""For what holds one now and then: udev, journalctl, a login."""

_PROC = Path("/proc")
_INOTIFY = "anon_inode:inotify"


def check_inotify(hosts: int, proc: Path = _PROC) -> None:
    """That ``hosts`` more can boot.  :raises LabError: one line, with what would be enough"""
    limit = int((proc / "sys" / SETTING.replace(".", "/")).read_text())
    line = shortage(hosts, limit, used(os.geteuid(), proc))
    if line:
        raise LabError(line)


def shortage(hosts: int, limit: int, taken: int) -> str:
    """What is too little, and the command that mends it; empty when it is enough.  Pure."""
    needed = hosts * PER_HOST + SPARE
    if hosts == 0 or taken + needed <= limit:
        return ""
    enough = max(1024, 2 * (taken + needed))
    who = f"{hosts} more hosts need" if hosts > 1 else "one more host needs"
    return (
        f"{who} {needed} inotify instances, and {max(0, limit - taken)} of {limit} are left: "
        f"take another lab down, or `sysctl {SETTING}={enough}`"
    )


def used(uid: int, proc: Path = _PROC) -> int:
    """The inotify instances of a user on this machine, those in the hosts of labs among them."""
    return sum(_instances(entry, uid) for entry in proc.iterdir() if entry.name.isdigit())


def _instances(process: Path, uid: int) -> int:
    try:
        if process.stat().st_uid != uid:
            return 0
        return sum(_is_inotify(each) for each in (process / "fd").iterdir())
    except OSError:  # it has ended
        return 0


def _is_inotify(descriptor: Path) -> bool:
    try:
        return os.readlink(descriptor) == _INOTIFY  # noqa: PTH115 - it is no path
    except OSError:
        return False
