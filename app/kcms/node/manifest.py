"""The files of one node alone that a job needs, and the proof that another node has the same.

Root opens them on both sides, so only what lies where users cannot put anything is opened, as a
regular file that everybody may read, and never a link in the last place.
"""

# pathlib has no open() with flags.
from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from typing import Any

from kcms.node.mounts import is_system

MOST_FILES = 500
MOST_BYTES = 4 * 1024**3
"""Files of one manifest, and bytes of all of them, that are read."""

_PART = 1 << 20


class FileError(Exception):
    """A sentence without its subject, the file: why it cannot be used."""


class Digests:
    """SHA-256 of files, remembered while device, inode, time and size stay as they were."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], str] = {}

    def of(self, path: str, most: int = MOST_BYTES) -> tuple[int, str]:
        """(size, digest as hexadecimal digits).

        :raises FileError: not there, not such a file, or larger than ``most`` bytes
        """
        descriptor = _open(path)
        try:
            found = os.fstat(descriptor)
            _check(found, most)
            key = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            if key not in self._known:
                self._known[key] = _digest(descriptor, found.st_size)
            return found.st_size, self._known[key]
        except OSError as error:
            raise FileError(f"cannot be read: {error.strerror}") from error
        finally:
            os.close(descriptor)


def _open(path: str) -> int:
    if not is_system(path) or "\0" in path or "/../" in path + "/":
        raise FileError("is no file of the system")
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise FileError("does not exist") from None
    except OSError as error:
        raise FileError(f"cannot be read: {error.strerror}") from error


def _check(found: os.stat_result, most: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileError("is no regular file")
    if not found.st_mode & stat.S_IROTH:
        raise FileError("is not readable by everybody")
    if found.st_size > most:
        raise FileError(f"is larger than {most >> 20} MiB")


def _digest(descriptor: int, size: int) -> str:
    """Of the first ``size`` bytes; a file that grows meanwhile is not read for ever."""
    made, left = hashlib.sha256(), size
    while left > 0 and (part := os.read(descriptor, min(left, _PART))):
        made.update(part)
        left -= len(part)
    return made.hexdigest()


def make(paths: Iterable[str], digests: Digests) -> list[dict[str, Any]]:
    """Rows of path, size and sha256.

    :raises FileError: a sentence, with its subject
    """
    paths, left, rows = list(paths), MOST_BYTES, []
    if len(paths) > MOST_FILES:
        raise FileError(
            f"the job uses {len(paths)} files of this node alone; {MOST_FILES} is the most that "
            "are compared: put its program and libraries on a shared directory"
        )
    for path in paths:
        try:
            size, digest = digests.of(path, left)
        except FileError as error:
            raise FileError(f"the job uses {path}, which {error}") from None
        left -= size
        rows.append({"path": path, "size": size, "sha256": digest})
    return rows
