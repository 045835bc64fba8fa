"""Takes a job's files back to how they were at its checkpoint; a program with the owner's ids.

``python3 -I -S -E rollback.py``, started by :func:`kcms.node.owner.ask`, reads a request on
standard input and writes the answer.  ``{"look": [path, ...]}`` is answered with ``files``: a row
of size, mtime in ns, inode and end for each, nothing for what is no regular file.
``{"back": [row, ...]}``
is answered with ``problem``, a sentence when the job cannot go on with these files (then none was
touched), with ``lost``, the path of the file that is to blame for it, and with ``notes``, phrases
that say what was done and what could not be.

A row has ``path``, ``size``, ``mtime``, ``inode`` and ``end`` at the checkpoint, and ``use``:

    written    open for writing: cut when it grew; must be there, no shorter, and the same file
    read       open, but not for writing: must have its length, and is never cut
    closed     output of the job which it did not have open: cut when it grew, may be gone

Appended to again, a file that was cut becomes what it would have been.  One that was changed within
its length since cannot be taken back.  ``end`` is the checksum of the last bytes up to the length,
-1 where they cannot be read: it tells a file from another that took its name since, on file servers
too that give a file another inode on each node.
"""

# pathlib would cost start-up time.
# ruff: noqa: PTH116

from __future__ import annotations

import json
import os
import stat
import sys
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

USES = ("written", "read", "closed")
MOST_NOTES = 3
"""Files that are named."""

END = 4096
"""Bytes that are compared."""

UNKNOWN = -1
FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

Look = Callable[[str, "int | None"], "Found | None"]


class Found(NamedTuple):
    size: int
    mtime: int
    inode: int
    end: int = UNKNOWN


class Cut(NamedTuple):
    path: str
    before: int
    after: int

    def __str__(self) -> str:
        return f"{self.path} was cut from {self.before} to {self.after} bytes, as at the checkpoint"


def look(path: str, size: int | None = None) -> Found | None:
    """What a regular file is like, None for anything else that may be there.

    :param size: where the end is that is compared, if not at the file's
    :raises OSError: it cannot be looked at
    """
    descriptor = _opened(path)
    try:
        found = os.stat(path, follow_symlinks=False) if descriptor is None else os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            return None
        end = _end(descriptor, found.st_size if size is None else size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        if descriptor is not None:
            os.close(descriptor)
    return Found(found.st_size, found.st_mtime_ns, found.st_ino, end)


def _opened(path: str) -> int | None:
    """A descriptor of it, None when it cannot be had.

    A file server's client asks the server anew when a file is opened, but may answer a bare stat(2)
    with what it knew of a file that another node has written since (nfs(5), "Close-to-open cache
    consistency").
    """
    for access in (os.O_RDONLY, os.O_WRONLY):
        try:
            return os.open(path, access | FLAGS)
        except OSError:
            continue
    return None


def _end(descriptor: int | None, size: int) -> int:
    """The checksum of the last bytes before ``size``."""
    if descriptor is None:
        return UNKNOWN
    try:
        return zlib.crc32(os.pread(descriptor, min(END, size), max(size - END, 0)))
    except OSError:
        return UNKNOWN


def is_other(row: dict[str, Any], found: Found) -> bool:
    """Whether another file has the name now, as far as can be seen."""
    if found.inode == row["inode"]:
        return False
    return UNKNOWN in (row["end"], found.end) or found.end != row["end"]


def problem_of(row: dict[str, Any], found: Found | None) -> str:
    """Why the job cannot go on with the file, as a sentence, or ""."""
    path, size, use = row["path"], row["size"], row["use"]
    if use == "closed":
        return ""
    if found is None:
        return f"{path}, which the job had open at the checkpoint, is no longer there"
    if use == "read" and found.size != size:
        return f"{path}, which the job reads, has {found.size} bytes, not {size} as then"
    if found.size < size:
        return f"{path} has {found.size} bytes, fewer than the {size} that it had at the checkpoint"
    if is_other(row, found):
        return f"{path} is another file than at the checkpoint"
    return ""


def remark_on(row: dict[str, Any], found: Found | None) -> str:
    """What cannot be taken back of the file, as far as it shows, or ""."""
    if found is None:
        return ""
    if is_other(row, found):
        return f"{row['path']} is another file than at the checkpoint"
    at_end = found.end != row["end"] and UNKNOWN not in (row["end"], found.end)
    if at_end or (found.size == row["size"] and found.mtime != row["mtime"]):
        return f"{row['path']} was changed within its length since the checkpoint"
    return ""


def cut_of(row: dict[str, Any], found: Found | None) -> Cut | None:
    if row["use"] == "read" or found is None or found.size <= row["size"]:
        return None
    if is_other(row, found):
        return None
    return Cut(row["path"], found.size, row["size"])


def back(rows: list[dict[str, Any]], how: Look = look) -> dict[str, Any]:
    """Look at all of the files, and touch them only when none of them is a problem."""
    seen = [(row, how(row["path"], row["size"])) for row in rows]
    for row, found in seen:
        problem = problem_of(row, found)
        if problem:
            return {"problem": problem, "lost": row["path"], "notes": []}
    cuts = [cut for row in seen if (cut := cut_of(*row))]
    for cut in cuts:
        truncate(cut)
    remarks = [each for row in seen if (each := remark_on(*row))]
    return {"problem": "", "lost": "", "notes": [*map(str, cuts), *remarks]}


def truncate(cut: Cut) -> None:
    """:raises OSError: it cannot be, or is no such file any more"""
    descriptor = os.open(cut.path, os.O_WRONLY | FLAGS)
    try:
        if os.fstat(descriptor).st_size > cut.after:
            os.ftruncate(descriptor, cut.after)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def note(phrases: list[str]) -> str:
    """One line of them."""
    shown, more = phrases[:MOST_NOTES], len(phrases) - MOST_NOTES
    return "; ".join([*shown, f"so were {more} files more"] if more > 0 else shown)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    if "look" in request:
        return {"files": [look(each) or [] for each in request["look"]]}
    try:
        return back(request["back"])
    except OSError as error:
        why = (
            f"{error.filename or 'a file'} cannot be taken back to how it was at the checkpoint: "
            f"{error.strerror}"
        )
        return {"problem": why, "lost": "", "notes": []}


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
