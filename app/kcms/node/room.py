"""How much room a host has for what is to come to it."""

from __future__ import annotations

import os
from pathlib import Path


def free_kib(directory: str) -> int:
    """KiB that are free for everybody on the directory's file system."""
    space = os.statvfs(directory)
    return space.f_bavail * space.f_frsize // 1024


def available_kib(path: str = "/proc/meminfo") -> int:
    """KiB of memory that programs can still have without swapping (MemAvailable, proc(5))."""
    lines = Path(path).read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
