"""What stat says of a process, proc_pid_stat(5), and its command line; for a look at many of them.

Every file is world-readable, and read once.
"""

# pathlib would cost several times what is read of a process.

from __future__ import annotations

import os
from typing import NamedTuple

PROC = "/proc"
STAT_BYTES = 4096
COMMAND_BYTES = 4096
"""Of a command line that are read: a page, of what may be megabytes."""

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024


class Birth(NamedTuple):
    """What stat says: ``birth`` is the start in clock ticks since the boot, ``cpu`` what it used in
    clock ticks."""

    name: str
    state: str
    parent: int
    birth: int
    cpu: int = 0
    threads: int = 1
    rss_kib: int = 0


def parse_stat(text: bytes) -> Birth:
    """Of /proc/P/stat; the name may hold spaces, parentheses and newlines.

    :raises ValueError: it is no such text
    """
    opening, closing = text.index(b"("), text.rindex(b")")
    rest = text[closing + 1 :].split()
    if len(rest) < 22:
        raise ValueError("stat of a process is too short")
    return Birth(
        text[opening + 1 : closing].decode("utf-8", "replace"),
        state=rest[0].decode(),
        parent=int(rest[1]),
        birth=int(rest[19]),
        cpu=int(rest[11]) + int(rest[12]),
        threads=int(rest[17]),
        rss_kib=int(rest[21]) * PAGE_KIB,
    )


def birth_of(pid: int, proc: str = PROC) -> Birth | None:
    """What stat says of a process; None when it is gone."""
    try:
        return parse_stat(_read(f"{proc}/{pid}/stat", STAT_BYTES))
    except (OSError, ValueError):
        return None


def is_over(state: str) -> bool:
    """Whether a process of this state runs no more: it waits for its parent to hear of it."""
    return state in "ZX"


def command(pid: int, proc: str = PROC) -> str:
    """Its arguments with blanks between them; empty when it has none, or is gone."""
    try:
        text = _read(f"{proc}/{pid}/cmdline", COMMAND_BYTES)
    except OSError:
        return ""
    return text.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")


def _read(path: str, most: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, most)
    finally:
        os.close(descriptor)
