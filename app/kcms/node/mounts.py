"""Which files lie on a shared directory: paths of a process against its table of mounts.  Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

LOCAL_TYPES = frozenset(
    {
        "autofs", "bpf", "btrfs", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
        "devtmpfs", "efivarfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fusectl", "hugetlbfs",
        "iso9660", "mqueue", "nsfs", "overlay", "proc", "pstore", "ramfs", "rootfs",
        "securityfs", "squashfs", "sysfs", "tmpfs", "tracefs", "udf", "vfat", "xfs", "zfs",
    }
)  # fmt: skip
"""File systems that, mounted below a shared directory, are one node's own."""

SYSTEM = ("/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin", "/etc", "/opt")
"""Where the distribution and the administrator put files, and users cannot."""


class Mount(NamedTuple):
    """A row of mountinfo(5); ``device`` is (major, minor)."""

    id: int
    device: tuple[int, int]
    point: str
    kind: str


def parse_mountinfo(text: bytes) -> list[Mount]:
    """:raises ValueError: a row is none"""
    found = []
    for line in os.fsdecode(text).splitlines():
        row = line.split(" ")
        major, _, minor = row[2].partition(":")
        kind = row[row.index("-", 6) + 1]
        found.append(Mount(int(row[0]), (int(major), int(minor)), _unescaped(row[4]), kind))
    return found


def _unescaped(text: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found.group(1), 8)), text)


_OCTAL = re.compile(r"\\([0-7]{3})")


def below(path: str, directory: str) -> bool:
    """Whether the path is the directory, or something in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def is_system(path: str) -> bool:
    return any(below(path, each) for each in SYSTEM)


class Where:
    """The mounts of a job, and the directories that all nodes share (real paths)."""

    def __init__(self, mounts: Iterable[Mount], shared: Sequence[str]) -> None:
        self._mounts = list(mounts)
        self._by_id = {each.id: each for each in self._mounts}
        self._shared = list(shared)
        self._covers = [found for each in shared if (found := self.covering(each)) is not None]

    def covering(self, path: str) -> Mount | None:
        """The mount that the path is on; of two at the same point the later one hides the other."""
        found = None
        for each in self._mounts:
            if below(path, each.point) and (found is None or len(each.point) >= len(found.point)):
                found = each
        return found

    def known(self, mount: int) -> bool:
        return mount in self._by_id

    def under_shared_name(self, path: str) -> bool:
        """Whether the path is one that only its owner may touch."""
        return any(below(path, each) for each in self._shared)

    def is_shared(self, path: str, mount: int = -1) -> bool:
        """Whether every node sees what is at the path: below a shared directory, and not on a
        file system of this node alone that is mounted there."""
        if not self.under_shared_name(path):
            return False
        on = self._by_id.get(mount) or self.covering(path)
        if on is None:
            return False
        covers = {(each.device, each.point) for each in self._covers}
        same = any(on.device == device or on.point == point for device, point in covers)
        return same or on.kind not in LOCAL_TYPES

    def shared_devices(self) -> frozenset[int]:
        """Devices of the shared directories, as inotify's fdinfo gives them (sdev)."""
        shared = [each for each in self._mounts if self.is_shared(each.point, each.id)]
        return frozenset(
            (each.device[0] << 20) | each.device[1] for each in [*shared, *self._covers]
        )
