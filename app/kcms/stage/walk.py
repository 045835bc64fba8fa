"""Opens directories and files of a user's stage step by step, so that no link is followed in it.

The process *is* the user.  Standard library only: the children of a gateway load it, and tasks.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from kcms.jobs.staged import STAGE, below_stage

OTHERS_WRITE = 0o022
PRIVATE_DIRECTORY, PRIVATE = 0o700, 0o600
_LINKS = (errno.ELOOP, errno.ENOTDIR)
_STEP = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class WalkError(Exception):
    """One line that says which step cannot be used, and why."""


def stage(home: str, below: Iterable[str] = (), make: bool = False) -> int:
    """The descriptor of ``HOME/.kcms/stage`` or of a directory below it.

    (The home itself may well be behind a link, which is the site's own.)

    :param make: make what is missing, for the user alone
    :raises OSError: a step cannot be opened  :raises WalkError: it is another's, or open to others
    """
    here, path = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), home.rstrip("/")
    for each in (*STAGE.split("/"), *below):
        path = f"{path}/{each}"
        try:
            after = _step(here, each, make)
            try:
                check_own(after, path)
            except WalkError:
                os.close(after)
                raise
        finally:
            os.close(here)
        here = after
    return here


def _step(above: int, name: str, make: bool) -> int:
    if make:
        try:  # noqa: SIM105 - contextlib would cost each task time
            os.mkdir(name, PRIVATE_DIRECTORY, dir_fd=above)
        except FileExistsError:
            pass
    return os.open(name, _STEP, dir_fd=above)


def check_own(directory: int, path: str) -> None:
    """:raises WalkError: others could put links or files of their own into it"""
    found = os.fstat(directory)
    if found.st_uid != os.geteuid():
        raise WalkError(f"{path} belongs to user id {found.st_uid}, not to its user")
    if found.st_mode & OTHERS_WRITE:
        raise WalkError(f"others may write to {path}: chmod go-w it")


def open_staged(home: str, path: str) -> int:
    """The staged file of ``path``, to be read.  Raises as :func:`stage`."""
    content, name = below_stage(path).split("/")
    directory = stage(home, (content,))
    try:
        return os.open(name, os.O_RDONLY | _FILE, dir_fd=directory)
    finally:
        os.close(directory)


def is_own_file(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()


def plainly(path: str, error: OSError) -> str:
    """What is wrong with a step or file, in words."""
    if isinstance(error, FileNotFoundError):
        return f"{path} does not exist"
    if isinstance(error, PermissionError):
        return f"{path} may not be used by this user"
    if error.errno in _LINKS:
        return f"{path} is, or lies behind, a symbolic link or what is no directory"
    return f"{path} cannot be used: {error.strerror}"
