"""Shared directories on which no symbolic link leads anywhere, in the mounts of this process.

criu opens every file of a job by its path and with root's rights.  What lies on a shared directory
is its users' to rename meanwhile: a link in the place of a job's output to a file of the host would
give the restored job that file, open.  The paths that criu has recorded are real ones, without a
link in them, so while it restores no link is needed there.

Kernel: mount_setattr(2) with MOUNT_ATTR_NOSYMFOLLOW, Linux 5.14.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

_MS_BIND, _MS_REC = 0x1000, 0x4000
_MOUNT_SETATTR = 442  # the same on every architecture
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_NOSYMFOLLOW = 0x00200000


class _Attributes(ctypes.Structure):
    """struct mount_attr of linux/mount.h."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("set", "clear", "propagation", "user")]


def forbid(directories: Iterable[str]) -> None:
    """Each directory, and what is mounted below it, becomes a mount that follows no link.

    The caller must have mounts of its own.  :raises OSError: it cannot be
    """
    for each in directories:
        real = os.path.realpath(each)
        _call("mount", os.fsencode(real), os.fsencode(real), None, _MS_BIND | _MS_REC, None)
        _change(real, _Attributes(set=_NOSYMFOLLOW))


def allow(directories: Iterable[str]) -> None:
    """Undo :func:`forbid` for the same directories, which stay mounts of their own.

    :raises OSError: it cannot be
    """
    for each in directories:
        _change(os.path.realpath(each), _Attributes(clear=_NOSYMFOLLOW))


def _change(path: str, wanted: _Attributes) -> None:
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    flags = ctypes.c_uint(_AT_RECURSIVE)
    number, where = ctypes.c_long(_MOUNT_SETATTR), ctypes.c_int(_AT_FDCWD)
    _call("syscall", number, where, os.fsencode(path), flags, ctypes.byref(wanted), size)


def _call(name: str, *arguments: object) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    function.restype = ctypes.c_long
    if function(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"links on a shared directory cannot be shut off: {os.strerror(code)}")
