"""The owner's hands on the shared directory: a program that runs with the job owner's ids alone.

``python3 -I -S -E carrier.py``, started with the owner's ids and no capabilities, does what its
arguments say.  Root itself touches no path there, so a home of mode 0700 on a file server that
maps root to nobody works, and nobody gets anywhere through root's rights.

    place DIRECTORY    make DIRECTORY/.kcms
    put PATH           make the file, which must not be there, from standard input
    get PATH           the file to standard output
    remove PATH        remove it, and the directory .kcms when it is empty
    sync               bring the files and directories named on standard input (a JSON list) to the
                       server
"""

# pathlib would cost start-up time, and has no directory descriptors.
# ruff: noqa: PTH106, PTH117, PTH118

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import sys
from collections.abc import Callable

NAME = ".kcms"
CLOSED = "is closed to its owner"
FOREIGN = "belongs to another user"
CHUNK = 1 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def main(arguments: list[str]) -> int:
    os.umask(0o077)
    steps: dict[str, Callable[..., None]] = {
        "place": _place,
        "put": _put,
        "get": _get,
        "remove": _remove,
        "sync": _sync,
    }
    try:
        steps[arguments[0]](*arguments[1:])
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{getattr(error, 'strerror', None) or error}\n")
        return 1
    return 0


def _own(descriptor: int, path: str) -> int:
    """:raises ValueError: it is another user's, so not ours to trust or to fill"""
    if os.fstat(descriptor).st_uid != os.geteuid():
        os.close(descriptor)
        raise ValueError(f"{path} {FOREIGN}")
    return descriptor


def _open_place(directory: str, make: bool) -> int:
    """The directory .kcms below ``directory``; no link is followed into it."""
    outer = os.open(directory, _DIRECTORY)
    try:
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(NAME, 0o700, dir_fd=outer)
        path = os.path.join(directory, NAME)
        found = _open_below(outer, NAME, _DIRECTORY | os.O_NOFOLLOW, path)
    finally:
        os.close(outer)
    return _own(found, path)


def _open_below(outer: int, name: str, flags: int, path: str) -> int:
    """Open it to be read.

    :raises ValueError: it is another user's, or its owner has closed it: no node may read it
    :raises PermissionError: the file server refuses it, perhaps this node alone
    """
    try:
        return os.open(name, flags, dir_fd=outer)
    except PermissionError:
        found = os.stat(name, dir_fd=outer, follow_symlinks=False)
        if found.st_uid != os.geteuid():
            raise ValueError(f"{path} {FOREIGN}") from None
        needed = 0o500 if stat.S_ISDIR(found.st_mode) else 0o400
        if found.st_mode & needed != needed:
            raise ValueError(f"{path} {CLOSED}") from None
        raise


def _split(path: str) -> tuple[str, str]:
    """Directory above .kcms, and name below it."""
    place, name = os.path.split(path)
    directory, middle = os.path.split(place)
    if middle != NAME or not name or not os.path.isabs(directory):
        raise ValueError(f"{path} is no image's name")
    return directory, name


def _place(directory: str) -> None:
    os.close(_open_place(directory, make=True))


def _put(path: str) -> None:
    directory, name = _split(path)
    place = _open_place(directory, make=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, 0o600, dir_fd=place)
    _copy(0, file)
    os.close(file)  # not synced: until the move is committed the frozen job is what lasts


def _get(path: str) -> None:
    directory, name = _split(path)
    place = _open_place(directory, make=False)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    file = _own(_open_below(place, name, flags, path), path)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        raise ValueError(f"{path} is no regular file")
    _copy(file, 1)


def _copy(source: int, target: int) -> None:
    while data := os.read(source, CHUNK):
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]


_IN_THE_WAY = (errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM)
"""Why the owner's own file cannot be removed with the owner's ids: what the owner did to it."""


def _remove(path: str) -> None:
    """What the owner put in the image's place, or closed, is left to the owner."""
    try:
        _remove_image(path)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
    except OSError as error:
        if error.errno not in _IN_THE_WAY:
            raise


def _remove_image(path: str) -> None:
    directory, name = _split(path)
    with contextlib.suppress(FileNotFoundError):
        place = _open_place(directory, make=False)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=place)
        with contextlib.suppress(OSError):  # another job's image is in it
            os.rmdir(os.path.join(directory, NAME))


def _sync() -> None:
    for path in json.load(sys.stdin):
        try:
            file = _open_any(path)
        except FileNotFoundError:
            continue  # removed since
        mode = os.fstat(file).st_mode
        if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
            os.fsync(file)
        os.close(file)


def _open_any(path: str) -> int:
    """:raises OSError: it can be opened neither to read nor to write"""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with contextlib.suppress(PermissionError):
        return os.open(path, os.O_RDONLY | flags)
    return os.open(path, os.O_WRONLY | flags)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
