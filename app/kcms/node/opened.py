"""Whether a job's owner may open what criu opened for it as root on the shared directories.

Where several users may write, one can rename another's file into the place of a job's own; the
restored job would hold it open.  So every such file is opened once more, with the owner's ids.
"""

# pathlib would cost several times what is read of a process.
# ruff: noqa: PTH115, PTH116, PTH123, PTH208

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence

from kcms.node.mounts import below
from kcms.node.owner import Ids, ask

_DELETED = " (deleted)"
_Row = tuple[str, int, int, int]
"""Path, access mode, device, inode."""


def forbidden(pids: Iterable[int], shared: Sequence[str], ids: Ids, proc: str = "/proc") -> str:
    """The first file on a shared directory that the processes hold and their owner could not open
    so; "" when there is none.

    :raises OSError: a process cannot be looked at  :raises OwnerError: nor the files
    """
    real = [os.path.realpath(each) for each in shared]
    found = {row for pid in pids for row in _held(f"{proc}/{pid}", real)}
    rows = sorted(found)
    if not rows:
        return ""
    told = ask(ids, {"openable": [row[:2] for row in rows]})["openable"]
    for row, seen in zip(rows, told, strict=True):
        if seen != [row[2], row[3]]:
            return row[0]
    return ""


def _held(process: str, shared: Sequence[str]) -> Iterator[_Row]:
    for number in os.listdir(f"{process}/fd"):
        link = f"{process}/fd/{number}"
        path = _shared_path(link, shared)
        if path:
            yield from _row(link, path, _flags(f"{process}/fdinfo/{number}"))
    with open(f"{process}/maps", encoding="utf-8", errors="surrogateescape") as file:
        mappings = [line.split(maxsplit=2)[:2] for line in file]
    for span, access in mappings:
        link = f"{process}/map_files/{span}"
        path = _shared_path(link, shared)
        if path:
            shares_writes = access[1] == "w" and access[3] == "s"
            yield from _row(link, path, os.O_RDWR if shares_writes else os.O_RDONLY)


def _shared_path(link: str, shared: Sequence[str]) -> str:
    """Where on a shared directory the file has its name; "" for any other."""
    try:
        path = os.readlink(link)
    except FileNotFoundError:
        return ""  # memory without a file
    inside = any(below(path, each) for each in shared)
    return path if inside and not path.endswith(_DELETED) else ""


def _flags(path: str) -> int:
    with open(path, encoding="ascii", errors="replace") as file:
        return next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))


def _row(link: str, path: str, flags: int) -> Iterator[_Row]:
    found = os.stat(link)
    if stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode):
        yield path, flags & (os.O_ACCMODE | os.O_PATH), found.st_dev, found.st_ino
