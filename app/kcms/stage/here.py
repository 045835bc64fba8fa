"""A snapshot of a file of this host, taken by its user: as ``kcms submit --stage`` has it."""

from __future__ import annotations

import os
import time

from kcms.errors import InvalidRequest
from kcms.stage import walk
from kcms.stage.part import BLOCK, Part, Place
from kcms.via.staging import Local

SECONDS = 600.0
"""That another command which stages the same content is waited for."""


def snapshot(local: Local, place: Place) -> bool:
    """Have ``local`` at ``place``; whether it had to be copied.

    :raises InvalidRequest: it cannot be copied, or changes meanwhile
    """
    executable = local.field == "executable"
    if place.is_there(executable):
        return False
    try:
        with Part(place, time.monotonic() + SECONDS) as part:
            if place.is_there(executable):
                part.drop()
                return False
            part.restart()
            part.check_room()
            _copy(local, part)
            if not part.is_right():
                part.drop()
                raise InvalidRequest(
                    f"{local.path} changed while it was read: try again when nothing writes to it"
                )
            part.finish(local.mode | (0o500 if executable else 0o400))
    except TimeoutError:
        raise InvalidRequest(f"another command has been staging {local.path}: try again") from None
    return True


def _copy(local: Local, part: Part) -> None:
    """:raises OSError: it cannot be read or written"""
    at = 0
    file = os.open(local.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while at < local.size and (block := os.pread(file, min(BLOCK, local.size - at), at)):
            part.write(block, at)
            at += len(block)
    finally:
        os.close(file)


def own_directory(path: str) -> int:
    """The descriptor of a directory of the user's own.

    :raises OSError: there is none, or it is a link  :raises walk.WalkError: it is another's
    """
    found = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        walk.check_own(found, path)
    except walk.WalkError:
        os.close(found)
        raise
    return found
