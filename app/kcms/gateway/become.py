"""What a process does to its own privileges: keep two capabilities, or become a user for good.

Standard library only, as :mod:`kcms.gateway.forks` loads it.  Structures and numbers are those of
Linux's capability.h, prctl.h and time.h for 64-bit programs; see capset(2), prctl(2) and
timer_create(2).
"""

from __future__ import annotations

import ctypes
import math
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SETUID_AND_SETGID = 1 << 7 | 1 << 6
PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 4, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAPABILITY_VERSION_3 = 0x20080522
CLOCK_MONOTONIC = 1
SIGEV_SIGNAL = 0

libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Event(ctypes.Structure):
    _fields_ = [
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_char * 48),
    ]


class _Times(ctypes.Structure):
    """struct itimerspec: how often again, and how long from now."""

    _fields_ = [(name, ctypes.c_long) for name in ("again", "again_ns", "first", "first_ns")]


_Sets = ctypes.c_uint32 * 6
"""Effective, permitted and inheritable: capabilities 0 to 31, and then the same of the rest."""


def _called(what: str, result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(what: str, option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _called(what, libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero))


def _capabilities() -> Any:
    sets = _Sets()
    header = _Header(CAPABILITY_VERSION_3, 0)
    _called("capget", libc.capget(ctypes.byref(header), ctypes.byref(sets)))
    return sets


def keep_only(wanted: int) -> None:
    """Keep at most the capabilities of the bit set ``wanted`` (0 to 31), none of them for
    programs that are started.  :raises OSError: the kernel refused"""
    permitted = _capabilities()[1] & wanted
    _prctl("PR_CAP_AMBIENT", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    header = _Header(CAPABILITY_VERSION_3, 0)
    sets = _Sets(permitted, permitted)
    _called("capset", libc.capset(ctypes.byref(header), ctypes.byref(sets)))
    if list(_capabilities()) != list(sets):
        raise PermissionError("capabilities were not given up")


def restrict() -> None:
    """Make this process one that can do no more than become users.

    :raises OSError: the kernel refused
    """
    keep_only(SETUID_AND_SETGID)
    _prctl("PR_SET_NO_NEW_PRIVS", PR_SET_NO_NEW_PRIVS, 1)
    _prctl("PR_SET_DUMPABLE", PR_SET_DUMPABLE, 0)


class Timer:
    """Has the kernel kill this process, whatever it hangs in, ids it has or signals it gets.

    It is the process's own timer, as no process without CAP_KILL may kill one of another user (a
    parent's end does not either: PR_SET_PDEATHSIG asks for the same right).  Both raise OSError
    when the kernel refuses.
    """

    def __init__(self) -> None:
        self._timer = ctypes.c_void_p()
        event = _Event(None, signal.SIGKILL, SIGEV_SIGNAL)
        created = libc.timer_create(CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(self._timer))
        _called("timer_create", created)

    def die_after(self, seconds: float) -> None:
        """So many seconds from now, and no sooner or later that was said before."""
        fraction, whole = math.modf(max(seconds, 0.001))
        times = _Times(0, 0, int(whole), int(fraction * 1e9))
        _called("timer_settime", libc.timer_settime(self._timer, 0, ctypes.byref(times), None))


def become(name: str, uid: int, gid: int) -> None:
    """Be that user, with the groups of the user database and no capability, for good.

    A process that is ``uid`` already keeps its groups; it may not be allowed to change them.

    :raises OSError: the kernel refused, or the ids are not the user's afterwards
    """
    if uid != os.geteuid():
        os.initgroups(name, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid):
            raise PermissionError("the ids of the user were not taken")
    keep_only(0)
    _prctl("PR_SET_NO_NEW_PRIVS", PR_SET_NO_NEW_PRIVS, 1)
