"""Where the images of criu lie on a node: in memory while there is plenty of it, else on the disk.

A job stands still while its image is written and read, and a disk that has much to write makes
whoever writes to it wait.  ``image`` of a move's record is the directory, or a link to one on the
file system of ``/run``, which a restart of the host empties.
"""

from __future__ import annotations

import os
import shutil
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
    if not _fits(size):
        directory.mkdir(mode=0o700)
        return
    name = f"{directory.parent.name}.{os.urandom(6).hex()}"
    directory.symlink_to(PLACE / name)
    (PLACE / name).mkdir(mode=0o700)


def _fits(size: int) -> bool:
    try:
        PLACE.mkdir(mode=0o700, exist_ok=True)
        free, available = room.free_kib(str(PLACE)), room.available_kib()
    except (OSError, StopIteration):
        return False
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
