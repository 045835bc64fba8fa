"""Opens a task's standard files, as its user, whatever was put in their place since they were
looked at.

Links, directories and modes are the kernel's to judge, with the user's rights.  What is left to
refuse here is what would hang the task or hand its output to somebody else.  Loaded by every task's
PID 1, hence so few imports.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH116, PTH120

from __future__ import annotations

import errno
import os
import stat

_NO_WAIT = os.O_NONBLOCK | os.O_NOCTTY
"""A FIFO is opened at once, and no terminal becomes the task's own."""


def for_reading(path: str) -> int:
    """:raises OSError: it cannot be read, or is neither a file nor a device"""
    return _plain(os.open(path, os.O_RDONLY | _NO_WAIT))


def for_writing(path: str) -> int:
    """The file, made if there is none, and empty.

    In a directory that everybody may write in, others may have made it first, to read what is
    written or to have it written over: such a one is refused.

    :raises OSError: it cannot be written, is neither a file nor a device, or is another's there
    """
    file = _plain(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_WAIT, 0o666))
    try:
        there = os.fstat(file)
        if stat.S_ISREG(there.st_mode):
            _check_owner(path, there)
            os.ftruncate(file, 0)
    except OSError:
        os.close(file)
        raise
    return file


def _plain(file: int) -> int:
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        os.close(file)
        raise OSError(errno.EINVAL, "it is neither a file nor a device")
    os.set_blocking(file, True)
    return file


def _check_owner(path: str, there: os.stat_result) -> None:
    parent = os.stat(os.path.dirname(os.path.realpath(path)))
    open_to_all = parent.st_mode & stat.S_ISVTX and parent.st_mode & stat.S_IWOTH
    if open_to_all and there.st_uid not in (os.geteuid(), parent.st_uid):
        raise OSError(errno.EPERM, "another user made it, in a directory that is open to all")
