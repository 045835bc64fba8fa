"""Where the images of criu lie on a node: in memory while there is plenty of it, else on the disk.

A job stands still while its image is written and read, and a disk that has much to write makes
whoever writes to it wait.  ``image`` of a move's record is the directory, or a link to one on the
file system of ``/run``, which a restart of the host empties.  The name of that one begins with the
size that was promised to it, as the image grows to it by and by.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from kcms.node import room

PLACE = Path("/run/kcms-images")

SHARE = 4
"""An image takes at most one part in so many of the memory that is available: where it is restored
the job takes as much again."""

SPARE = 2
"""And of what the file system has free, on which the whole host depends."""


def make(directory: Path, size: int) -> None:
    """Make the new directory for an image of about that many bytes.

    :raises OSError: the disk refuses it
    """
    with contextlib.suppress(OSError, StopIteration), _alone():
        if _fits(size + _promised()):
            name = f"{size}-{directory.parent.name}.{os.urandom(6).hex()}"
            directory.symlink_to(PLACE / name)
            (PLACE / name).mkdir(mode=0o700)
            return
    if directory.is_symlink():
        directory.unlink()
    directory.mkdir(mode=0o700)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """No other image is promised room meanwhile."""
    PLACE.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(PLACE, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _promised() -> int:
    """Bytes that the images there may come to have; what they have already is counted twice."""
    sizes = (each.name.partition("-")[0] for each in PLACE.iterdir())
    return sum(int(each) for each in sizes if each.isdigit())


def _fits(size: int) -> bool:
    free, available = room.free_kib(str(PLACE)), room.available_kib()
    return size * SHARE <= available * 1024 and size * SPARE <= free * 1024


def remove(directory: Path) -> None:
    """Remove what :func:`make` made, if it is there."""
    if directory.is_symlink():
        place = directory.readlink()
        if place.parent == PLACE:
            shutil.rmtree(place, ignore_errors=True)
        directory.unlink(missing_ok=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)
