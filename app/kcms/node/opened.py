"""Whether a job's owner may open what criu opened for it as root; and whether root may.

Where several users may write, one can rename another's file into the place of a job's own; the
restored job would hold it open.  So every file, directory and FIFO that has a name is looked up by
that name once more, wherever it lies, with the rights of the owner; what has no name any more must
be the owner's.

The child that looks keeps root's ids but for those of the file system (setfsuid(2)), with which the
kernel takes away the capabilities to override permissions.  So its owner can neither trace it nor
stop it, and it says what it sees.

A file server may take root for nobody, so that criu cannot open what the owner can.
"""

# pathlib would cost several times what is read of a process.
# ruff: noqa: PTH115, PTH116, PTH123, PTH208

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from kcms.node.child import in_child
from kcms.node.owner import Ids

_KINDS = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFIFO)
_OVERRIDES = 0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH of capabilities(7)


_CLOSED = [0]
"""As in place of device and inode: there is something, and it must not be opened."""


class _Held(NamedTuple):
    """Something that a process holds, under the name that the kernel gives it."""

    path: str
    access: int  # as of open(2), with O_PATH
    device: int
    inode: int


def forbidden(pids: Iterable[int], ids: Ids, proc: str = "/proc") -> str:
    """The first file that the processes hold and their owner could not open so; "" for none.

    :raises OSError: a process cannot be looked at  :raises ChildError: nor the files
    """
    memory = _memory_device()
    rows: set[_Held] = set()
    for pid in pids:
        for held, there in _held(f"{proc}/{pid}"):
            if there.st_nlink:
                rows.add(held)
            elif there.st_uid != ids.uid and held.device != memory:
                return held.path
    wanted = sorted(rows)

    def look() -> list[list[int]]:
        _become(ids)
        return [_openable(row.path, row.access) for row in wanted]

    seen = in_child(look)
    found = (row.path for row, each in zip(wanted, seen, strict=True) if each != list(row[2:]))
    return next(found, "")


def closed_to_root(pids: Iterable[int], places: Sequence[str] = (), proc: str = "/proc") -> str:
    """The first file that the processes hold, or directory of ``places``, that root may not open;
    "" for none.  What has gone meanwhile is not looked at.

    :raises ChildError: it cannot be looked at
    """
    rows = {(each, os.O_PATH) for each in places}
    for pid in pids:
        try:
            rows |= {(held.path, held.access) for held, _ in _held(f"{proc}/{pid}")}
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
    wanted = sorted(rows)
    seen = in_child(lambda: [_openable(*row) for row in wanted])
    return next((row[0] for row, each in zip(wanted, seen, strict=True) if each == _CLOSED), "")


def _memory_device() -> int:
    """The device that memory shared by processes has its nameless files on."""
    memory = os.memfd_create("kcms", os.MFD_CLOEXEC)
    try:
        return os.fstat(memory).st_dev
    finally:
        os.close(memory)


def _held(process: str) -> Iterator[tuple[_Held, os.stat_result]]:
    yield from _named(f"{process}/cwd", os.O_PATH)
    for number in os.listdir(f"{process}/fd"):
        yield from _named(f"{process}/fd/{number}", _flags(f"{process}/fdinfo/{number}"))
    with open(f"{process}/maps", encoding="utf-8", errors="surrogateescape") as file:
        mappings = [line.split(maxsplit=2)[:2] for line in file]
    for span, access in mappings:
        shares_writes = access[1] == "w" and access[3] == "s"
        link = f"{process}/map_files/{span}"
        yield from _named(link, os.O_RDWR if shares_writes else os.O_RDONLY)


def _named(link: str, flags: int) -> Iterator[tuple[_Held, os.stat_result]]:
    """What a link of /proc leads to, if it is of a kind that criu opens by its name."""
    try:
        path, found = os.readlink(link), os.stat(link)
    except FileNotFoundError:
        return  # memory without a file
    if path.startswith("/") and stat.S_IFMT(found.st_mode) in _KINDS:
        access = flags & (os.O_ACCMODE | os.O_PATH)
        yield _Held(path, access, found.st_dev, found.st_ino), found


def _flags(path: str) -> int:
    with open(path, encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))


# the child ---------------------------------------------------------------------------------------


def _become(ids: Ids) -> None:
    """:raises PermissionError: these are not this process's rights"""
    if os.geteuid() == 0:
        os.setgroups(ids.groups)
    system = ctypes.CDLL(None)
    system.setfsgid(ids.gid)
    system.setfsuid(ids.uid)
    if (system.setfsuid(-1), system.setfsgid(-1)) != (ids.uid, ids.gid):
        raise PermissionError("not allowed to become the owner")
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff:"))
    if ids.uid != 0 and mask & _OVERRIDES:
        raise PermissionError("permissions would be overridden")


def _openable(path: str, access: int) -> list[int]:
    """Device and inode of what can be opened so; :data:`_CLOSED`, or nothing where nothing is."""
    try:
        handle = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:
        return _CLOSED
    except OSError:
        return []
    try:
        if not access & os.O_PATH and not _may(handle, access & os.O_ACCMODE):
            return _CLOSED
        found = os.fstat(handle)
        return [found.st_dev, found.st_ino]
    finally:
        os.close(handle)


def _may(handle: int, access: int) -> bool:
    mode = {os.O_RDONLY: os.R_OK, os.O_WRONLY: os.W_OK}.get(access, os.R_OK | os.W_OK)
    return os.access(f"/proc/self/fd/{handle}", mode, effective_ids=True)
