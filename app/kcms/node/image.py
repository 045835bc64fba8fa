"""A job's image as one stream: packed, counted, digested; and laid out where it is to be used.

A packed image is the line ``KCMS image 1``, a line with a JSON list of ``[name, size]``, and the
files' bytes one after another.  criu's images are plain files in one directory, so there are no
other kinds, and no path to be careful with.  The digest is known when the last byte has passed:
until then what was laid out is anybody's, and :func:`receive` leaves nothing of what is wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Semaphore, Thread
from typing import TypeVar

from kcms.node import inmemory

MAGIC = b"KCMS image 1\n"
CHUNK = 1 << 20
AHEAD = 4
"""Chunks that wait for their digest."""

MOST_FILES = 200_000
LINE = 16 << 20
Data = TypeVar("Data", bytes, memoryview)
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


def _exactly(read: Callable[[int], Data], size: int, name: str) -> Iterator[Data]:
    left = size
    while left:
        data = read(min(CHUNK, left))
        if not data:
            raise ImageError(f"the image ends within {name}")
        left -= len(data)
        yield data


class Counting:
    """Size and digest of what passes through; the digest is made by a thread beside it."""

    def __init__(self) -> None:
        self.size = 0
        self._sum = hashlib.sha256()
        self._chunks: SimpleQueue[bytes] = SimpleQueue()
        self._room = Semaphore(AHEAD)
        self._thread = Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while data := self._chunks.get():
            self._sum.update(data)
            self._room.release()

    def add(self, data: bytes) -> bytes:
        if data:
            self._room.acquire()
            self._chunks.put(data)
            self.size += len(data)
        return data

    def close(self) -> None:
        """The thread is over after this; whoever forks must have one thread."""
        self._chunks.put(b"")
        self._thread.join()

    @property
    def digest(self) -> Digest:
        """Of all that passed; nothing is added after it."""
        self.close()
        return Digest(self.size, self._sum.hexdigest())


def receive(chunks: Iterator[bytes], directory: Path, wanted: Digest) -> None:
    """Lay out in a new directory what comes, and see that it is what the source packed.

    :raises ImageError: it is not, and the directory is gone; :raises OSError: the disk refuses it
    """
    stream = _Stream(chunks, wanted.size)
    inmemory.make(directory, wanted.size)
    try:
        damage = _lay_out(stream, directory)
        stream.drain()
        _check_digest(stream.digest, wanted)
        if damage is not None:
            raise damage
    except BaseException:
        inmemory.remove(directory)
        raise


def verify(chunks: Iterator[bytes], wanted: Digest) -> None:
    """See that what comes is what was packed.  :raises ImageError: it is not"""
    stream = _Stream(chunks, wanted.size)
    stream.drain()
    _check_digest(stream.digest, wanted)


def _lay_out(stream: _Stream, directory: Path) -> ImageError | None:
    """What is wrong with the image's form.  It is told only of the image that the source packed."""
    try:
        if stream.read_line(len(MAGIC)) != MAGIC:
            raise ImageError("this is no image of this release")
        for name, size in _rows(stream.read_line(LINE)):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            with os.fdopen(os.open(directory / name, flags, 0o600), "wb", buffering=0) as out:
                for data in _exactly(stream.read, size, name):
                    _write(out.fileno(), data)
        if stream.read(1):
            raise ImageError("the image goes on after its end")
    except ImageError as error:
        return error
    return None


def _write(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _check_digest(found: Digest, wanted: Digest) -> None:
    if found.size != wanted.size:
        more = "more than" if found.size > wanted.size else "less than"
        raise ImageError(f"the image on the shared directory has {more} its {wanted.size} bytes")
    if found != wanted:
        raise ImageError("the image on the shared directory is not the one that was written there")


class _Stream:
    """What comes in chunks, counted and digested, to be read like a file; it ends ``most`` bytes
    and one chunk in."""

    def __init__(self, chunks: Iterator[bytes], most: int) -> None:
        self._chunks = chunks
        self._most = most
        self._counting = Counting()
        self._left = memoryview(b"")

    @property
    def digest(self) -> Digest:
        return self._counting.digest

    def _next(self) -> bool:
        """Whether there is more."""
        if not self._left and self._counting.size <= self._most:
            self._left = memoryview(self._counting.add(next(self._chunks, b"")))
        return bool(self._left)

    def read(self, size: int) -> memoryview:
        """Up to so many bytes; none at the end."""
        if not self._next():
            return self._left
        found, self._left = self._left[:size], self._left[size:]
        return found

    def read_line(self, most: int) -> bytes:
        """Up to the end of a line, of the stream, or so many bytes."""
        parts: list[bytes] = []
        while most > 0 and self._next():
            window = bytes(self._left[:most])
            end = window.find(b"\n") + 1
            part = window[:end] if end else window
            parts.append(part)
            most -= len(part)
            self._left = self._left[len(part) :]
            if end:
                break
        return b"".join(parts)

    def drain(self) -> None:
        while self._next():
            self._left = memoryview(b"")


def _rows(line: bytes) -> list[tuple[str, int]]:
    try:
        rows = [_check_row(name, size) for name, size in json.loads(line)]
    except (ValueError, TypeError, RecursionError) as error:
        raise ImageError("the image has no table of its files") from error
    if len(rows) > MOST_FILES:
        raise ImageError(f"the image has {len(rows)} files; {MOST_FILES} is the most")
    return rows
