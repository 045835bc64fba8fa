"""Tells of a file of the user that this process is, and pours it into a stream.

A request is ``{"act": …, "name": …, "path": …}``; ``name`` says what the file is, in words.

    look    ``size``, null for all: {"problem": null, "size", "mode", "own", "digest"}, a line;
            ``digest`` is the SHA-256 of the first ``size`` bytes
    read    ``begin``, ``size`` (null for all): {"problem": null, "size", "mode"}, a line, and then
            the bytes from ``begin`` up to ``size``
    tail    ``begin``, ``size``: the end of it, as :func:`kcms.gateway.check.tail` says it, of up
            to :data:`TAIL_BYTES`, as it is in memory at once

With ``home`` it is a file of the stage in there, to which no link leads.  Without it the file
itself must be none.  A problem is told as a line with its code.  Standard library only, as
:mod:`kcms.gateway.forks` loads it.
"""

from __future__ import annotations

import hashlib
import json
import os
import select
import stat

from kcms.gateway import check
from kcms.stage import walk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK = 1 << 16
LOOK_BLOCK = 1 << 22
TAIL_BYTES = 1 << 20
_PLAIN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def pour(request: dict[str, Any], stream: int) -> None:
    """Answer a request.  A reader that has gone ends it."""
    try:
        file = _opened(request)
        try:
            _tell(request, file, stream)
        finally:
            os.close(file)
    except check.CheckError as error:
        _say(stream, {"problem": str(error), "code": error.code})


def _opened(request: dict[str, Any]) -> int:
    """:raises CheckError: codes ``not_found``, ``forbidden``, ``conflict``"""
    name, path, home = request["name"], request["path"], request.get("home")
    try:
        file = walk.open_staged(home, path) if home else os.open(path, _PLAIN)
    except OSError as error:
        raise check.CheckError(f"{name} {walk.plainly(path, error)}", _code(error)) from None
    except walk.WalkError as error:
        raise check.CheckError(f"{name} {path} is not used: {error}", "conflict") from None
    found = os.fstat(file)
    if not stat.S_ISREG(found.st_mode) or (home and not walk.is_own_file(found)):
        os.close(file)
        raise check.CheckError(f"{name} {path} is no regular file of its user", "conflict")
    return file


def _code(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "not_found"
    return "forbidden" if isinstance(error, PermissionError) else "conflict"


def _tell(request: dict[str, Any], file: int, stream: int) -> None:
    if request["act"] == "tail":
        count = TAIL_BYTES if request["size"] is None else min(request["size"], TAIL_BYTES)
        _say(stream, {"problem": None, **check.end_of(file, count, request["begin"])})
        return
    found, wanted = os.fstat(file), request["size"]
    size = found.st_size if wanted is None else min(wanted, found.st_size)
    about = {"problem": None, "size": size, "mode": stat.S_IMODE(found.st_mode) & 0o777}
    if request["act"] == "look":
        digest = _digest(file, size, stream)
        if digest is not None:
            own = walk.is_own_file(found)
            _say(stream, {**about, "size": found.st_size, "own": own, "digest": digest})
        return
    _say(stream, about)
    at = min(request["begin"] or 0, size)
    while at < size and (block := os.pread(file, min(BLOCK, size - at), at)):
        if not _wrote(stream, block):
            return
        at += len(block)


def _digest(file: int, size: int, stream: int) -> str | None:
    """SHA-256 of the first ``size`` bytes; None once the reader has gone, who pays for none of it.

    (A file may be said to have more bytes than could be read in a year.)
    """
    made, at, reader = hashlib.sha256(), 0, select.poll()
    reader.register(stream, 0)  # POLLHUP and POLLERR are told in any case
    while at < size and (block := os.pread(file, min(LOOK_BLOCK, size - at), at)):
        made.update(block)
        at += len(block)
        if reader.poll(0):
            return None
    return made.hexdigest()


def _say(stream: int, told: dict[str, object]) -> None:
    _wrote(stream, json.dumps(told).encode() + b"\n")


def _wrote(stream: int, data: bytes) -> bool:
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(stream, left) :]
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True
