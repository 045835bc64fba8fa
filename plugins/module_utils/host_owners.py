"""Whom a tree of files belongs to, and giving all of it to somebody.

Directories and plain files are changed by descriptor after a look at what was opened: a daemon
that owns a directory may put a second name of somebody else's file, or a link, where a file was.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError

Owner = tuple[int, int]
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Entry:
    """A name in a directory that is open as ``parent``."""

    name: str
    parent: int
    status: os.stat_result

    @property
    def plain(self) -> bool:
        """Whether it is a directory, or a file with no second name elsewhere."""
        mode = self.status.st_mode
        return stat.S_ISDIR(mode) or (stat.S_ISREG(mode) and self.status.st_nlink == 1)


def strangers(top: str, owner: Owner) -> Iterator[Entry]:
    """What below ``top`` belongs to others than ``owner`` (uid, gid); directories come last."""
    for _path, directories, files, parent in os.fwalk(top, topdown=False):
        for name in (*files, *directories):
            with suppress(FileNotFoundError):  # whoever works there took it away
                status = os.stat(name, dir_fd=parent, follow_symlinks=False)
                if (status.st_uid, status.st_gid) != owner:
                    yield Entry(name, parent, status)


def has_strangers(top: str, owner: Owner) -> bool:
    """Whether :func:`give` would change anything below ``top``."""
    return any(each.plain or owner == (0, 0) for each in strangers(top, owner))


def give(top: str, owner: Owner) -> None:
    """Let everything below ``top`` belong to ``owner``; what is not plain goes to root alone.

    :raises HostError: the file system refuses it
    """
    try:
        for entry in strangers(top, owner):
            if entry.plain:
                _give_plain(entry, owner)
            elif owner == (0, 0):
                os.chown(entry.name, *owner, dir_fd=entry.parent, follow_symlinks=False)
    except OSError as error:
        raise HostError(f"cannot change whom {top} belongs to: {error.strerror}") from error


def _give_plain(entry: Entry, owner: Owner) -> None:
    handle = os.open(entry.name, _LOOK, dir_fd=entry.parent)
    try:
        if Entry(entry.name, entry.parent, os.fstat(handle)).plain:
            os.fchown(handle, *owner)
    finally:
        os.close(handle)
