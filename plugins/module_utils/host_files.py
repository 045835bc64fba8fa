"""Directories, files and links of one host: how a path differs from what is wanted, and the change.

:func:`differs` only looks, :func:`put` only acts, and both are given the same :class:`Wanted`;
so a check run and a real run come to the same answer.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import (
    HostError,
    gid_of,
    uid_of,
)
from ansible_collections.kcms.cluster.plugins.module_utils.host_owners import give, has_strangers

KINDS = {"directory": stat.S_ISDIR, "file": stat.S_ISREG, "link": stat.S_ISLNK}
STRANGE = "contents of other owners\n"


@dataclass(frozen=True)
class Wanted:
    """What one path should be.  ``kind`` is directory, file, link or absent.

    ``content`` is the bytes of a file, ``target`` the text of a link, ``mode`` permission bits.
    ``private`` files are never shown in a diff.  ``contents`` of a directory belong to its owner.
    """

    path: str
    kind: str
    content: bytes = b""
    target: str = ""
    owner: str = "root"
    group: str = "root"
    mode: int = 0o644
    private: bool = False
    contents: bool = False


@dataclass(frozen=True)
class Difference:
    """How a path differs: ``before`` and ``after`` are texts for people, as in a diff."""

    wanted: Wanted
    before: str
    after: str

    def diff(self) -> dict[str, str]:
        path = self.wanted.path
        return {
            "before_header": path,
            "after_header": path,
            "before": self.before,
            "after": self.after,
        }


def differs(wanted: Wanted) -> Difference | None:
    """How the path differs from ``wanted``; None when it is as wanted.

    :raises HostError: something of another kind is there, which is nobody's to replace silently
    """
    try:
        there = os.lstat(wanted.path)
    except (FileNotFoundError, NotADirectoryError):
        if wanted.kind == "absent":
            return None
        return Difference(wanted, "", _describe_wanted(wanted))
    if wanted.kind == "absent":
        return Difference(wanted, "present\n", "")
    if not KINDS[wanted.kind](there.st_mode):
        raise HostError(f"{wanted.path} is there and is no {wanted.kind}: move it away")
    before, after = _describe(wanted, there), _describe_wanted(wanted)
    if before == after and not _content_differs(wanted):
        return None
    return Difference(wanted, before, after)


def _content_differs(wanted: Wanted) -> bool:
    return wanted.kind == "file" and Path(wanted.path).read_bytes() != wanted.content


def _describe(wanted: Wanted, there: os.stat_result) -> str:
    if wanted.kind == "link":
        return f"link to {Path(wanted.path).readlink()}\n"
    known = (uid_of(wanted.owner), gid_of(wanted.group))
    owner = wanted.owner if there.st_uid == known[0] else str(there.st_uid)
    group = wanted.group if there.st_gid == known[1] else str(there.st_gid)
    head = _head(owner, group, stat.S_IMODE(there.st_mode))
    if wanted.kind == "directory":
        return head + (STRANGE if _has_strange_contents(wanted) else "")
    if wanted.private:
        return head
    return head + Path(wanted.path).read_bytes().decode(errors="replace")


def _has_strange_contents(wanted: Wanted) -> bool:
    uid, gid = uid_of(wanted.owner), gid_of(wanted.group)
    if not wanted.contents:
        return False
    return uid is None or gid is None or has_strangers(wanted.path, (uid, gid))


def _describe_wanted(wanted: Wanted) -> str:
    if wanted.kind == "link":
        return f"link to {wanted.target}\n"
    head = _head(wanted.owner, wanted.group, wanted.mode)
    if wanted.kind == "directory" or wanted.private:
        return head
    return head + wanted.content.decode(errors="replace")


def _head(owner: str, group: str, mode: int) -> str:
    return f"owner {owner} group {group} mode {mode:04o}\n"


def put(wanted: Wanted) -> None:
    """Make the path as wanted.  A file or link is replaced in one step, never half written.

    :raises HostError: it cannot be made, with the reason
    """
    try:
        if wanted.kind == "absent":
            Path(wanted.path).unlink()
        elif wanted.kind == "directory":
            _put_directory(wanted)
        elif wanted.kind == "link":
            _put_link(wanted)
        else:
            _put_file(wanted)
    except OSError as error:
        raise HostError(f"cannot write {wanted.path}: {error.strerror}") from error


def _owner_ids(wanted: Wanted) -> tuple[int, int]:
    uid, gid = uid_of(wanted.owner), gid_of(wanted.group)
    if uid is None or gid is None:
        missing = f"user {wanted.owner}" if uid is None else f"group {wanted.group}"
        raise HostError(f"{wanted.path} should belong to {missing}, which this host does not know")
    return uid, gid


def _put_directory(wanted: Wanted) -> None:
    uid, gid = _owner_ids(wanted)
    with suppress(FileExistsError):
        os.mkdir(wanted.path, 0o700)  # noqa: PTH102 - opened to others only once owned
    handle = os.open(wanted.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if wanted.contents:
            give(wanted.path, (uid, gid))
        os.fchown(handle, uid, gid)
        os.fchmod(handle, wanted.mode)
    finally:
        os.close(handle)


def _put_link(wanted: Wanted) -> None:
    with _beside(wanted.path) as temporary:
        Path(temporary).unlink()
        os.symlink(wanted.target, temporary)  # noqa: PTH211 - text of the link as given


def _put_file(wanted: Wanted) -> None:
    uid, gid = _owner_ids(wanted)
    with _beside(wanted.path) as temporary:
        handle = os.open(temporary, os.O_WRONLY)
        try:
            os.fchown(handle, uid, gid)
            os.fchmod(handle, wanted.mode)
            with open(handle, "wb", closefd=False) as stream:
                stream.write(wanted.content)
            os.fsync(handle)
        finally:
            os.close(handle)


@contextmanager
def _beside(path: str) -> Iterator[str]:
    """A private temporary file in the directory of ``path``, renamed to it when all went well."""
    directory, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=directory)
    os.close(handle)
    try:
        yield temporary
        os.replace(temporary, path)  # noqa: PTH105 - both are plain strings here
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)  # noqa: PTH108
        raise
