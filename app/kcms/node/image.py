"""A job's image as one stream: packed, counted, digested; and unpacked once it is known to be ours.

A packed image is the line ``KCMS image 1``, a line with a JSON list of ``[name, size]``, and the
files' bytes one after another.  criu's images are plain files in one directory, so there are no
other kinds, and no path to be careful with.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

MAGIC = b"KCMS image 1\n"
CHUNK = 1 << 20
MOST_FILES = 200_000
LINE = 16 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class ImageError(Exception):
    """One sentence that says why an image cannot be used."""


@dataclass(frozen=True)
class Digest:
    """Size in bytes and SHA-256, hexadecimal, of a packed image."""

    size: int
    sha256: str


def pack(directory: Path, skip: tuple[str, ...] = ()) -> Iterator[bytes]:
    """The bytes of the packed image of a directory that nobody writes any more.

    :raises ImageError: it holds what no image does; :raises OSError: it cannot be read
    """
    files = [(each.name, each.lstat()) for each in sorted(directory.iterdir())]
    rows = [_check_row(name, found.st_size) for name, found in files if name not in skip]
    yield MAGIC + json.dumps(rows).encode() + b"\n"
    for name, size in rows:
        with (directory / name).open("rb") as file:
            yield from _exactly(file.read, size, name)


def _check_row(name: object, size: object) -> tuple[str, int]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ImageError("the image holds a file whose name is no image's")
    if type(size) is not int or size < 0:
        raise ImageError(f"the image gives no size of {name}")
    return name, size


def _exactly(read: Callable[[int], bytes], size: int, name: str) -> Iterator[bytes]:
    left = size
    while left:
        data = read(min(CHUNK, left))
        if not data:
            raise ImageError(f"the image ends within {name}")
        left -= len(data)
        yield data


class Counting:
    """Size and digest of what passes through."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()
        self.size = 0

    def add(self, data: bytes) -> bytes:
        self._sum.update(data)
        self.size += len(data)
        return data

    @property
    def digest(self) -> Digest:
        return Digest(self.size, self._sum.hexdigest())


def store(chunks: Iterator[bytes], path: Path, wanted: Digest) -> None:
    """Write what comes to a new file, and see that it is what the source packed.

    :raises ImageError: it is not; no byte of it was looked at otherwise
    """
    counting = Counting()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        for data in chunks:
            file.write(counting.add(data))
            if counting.size > wanted.size:
                break
    _compare(counting, wanted)


def verify(chunks: Iterator[bytes], wanted: Digest) -> None:
    """See that what comes is what was packed.  :raises ImageError: it is not"""
    counting = Counting()
    for data in chunks:
        counting.add(data)
        if counting.size > wanted.size:
            break
    _compare(counting, wanted)


def _compare(counting: Counting, wanted: Digest) -> None:
    if counting.digest.size != wanted.size:
        more = "more than" if counting.digest.size > wanted.size else "less than"
        raise ImageError(f"the image on the shared directory has {more} its {wanted.size} bytes")
    if counting.digest != wanted:
        raise ImageError("the image on the shared directory is not the one that was written there")


def unpack(path: Path, directory: Path) -> None:
    """Lay a verified image out in a new directory.

    :raises ImageError: it is damaged all the same; :raises OSError: the disk refuses it
    """
    directory.mkdir(mode=0o700)
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise ImageError("this is no image of this release")
        for name, size in _rows(file.readline(LINE)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(directory / name, flags, 0o600), "wb") as out:
                for data in _exactly(file.read, size, name):
                    out.write(data)
        if file.read(1):
            raise ImageError("the image goes on after its end")


def _rows(line: bytes) -> list[tuple[str, int]]:
    try:
        rows = [_check_row(name, size) for name, size in json.loads(line)]
    except (ValueError, TypeError) as error:
        raise ImageError("the image has no table of its files") from error
    if len(rows) > MOST_FILES:
        raise ImageError(f"the image has {len(rows)} files; {MOST_FILES} is the most")
    return rows
