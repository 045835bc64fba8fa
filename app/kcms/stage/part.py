"""A staged file that is being made: a part that is locked, verified, and then gets its name.

The process *is* the user.  The part is ``.kcms-CONTENT.part`` in the stage, as one that
``kcms --via`` sends.  Whoever has its lock makes it; all others wait, and find the file there.
Standard library only, as a task loads it before its program begins.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable

from kcms.jobs.staged import DIGITS
from kcms.stage import walk

PART = re.compile(rf"\.kcms-[0-9a-f]{{{DIGITS}}}\.part")
STALE_SECONDS = 7 * 86400.0
BLOCK = 1 << 18
LOOK = 0.2  # seconds between looks whether a part is free
PERMISSIONS = 0o777
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_PART = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def part_name(digest: str) -> str:
    return f".kcms-{digest[:DIGITS]}.part"


def digest_of(file: int) -> str:
    """SHA-256 of an open file."""
    made, at = hashlib.sha256(), 0
    while block := os.pread(file, BLOCK, at):
        made.update(block)
        at += len(block)
    return made.hexdigest()


class Place:
    """Where one content goes: ``stage`` has its part, ``directory`` its file ``name``.

    :param stage: descriptor of the stage  :param directory: that of the directory of the content
    """

    def __init__(self, stage: int, directory: int, name: str, digest: str, size: int) -> None:
        self.stage = stage
        self.directory = directory
        self.name = name
        self.digest = digest
        self.size = size

    @classmethod
    def below(cls, home: str, name: str, digest: str, size: int) -> Place:
        """That of a content in the stage of a user, which is made.

        :raises OSError: it cannot be made  :raises walk.WalkError: it is another's
        """
        stage = walk.stage(home, make=True)
        try:
            directory = walk.stage(home, (digest[:DIGITS],), make=True)
        except BaseException:
            os.close(stage)
            raise
        return cls(stage, directory, name, digest, size)

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        for each in {self.stage, self.directory}:
            os.close(each)

    def is_there(self, executable: bool) -> bool:
        """Whether the file is there, of the user's own, with this content; it is made executable
        if it has to be."""
        try:
            file = os.open(self.name, _READ, dir_fd=self.directory)
        except OSError:
            return False
        try:
            found = os.fstat(file)
            if not walk.is_own_file(found) or found.st_size != self.size:
                return False
            if digest_of(file) != self.digest:
                return False
            if executable and not found.st_mode & stat.S_IXUSR:
                os.fchmod(file, (found.st_mode & PERMISSIONS) | stat.S_IXUSR)
            return True
        finally:
            os.close(file)


class Part:
    """The part of a place, open and locked.

    :raises OSError: it cannot be made  :raises TimeoutError: another has it until ``deadline``,
        seconds of ``clock``
    """

    def __init__(
        self, place: Place, deadline: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.place = place
        self.file = _locked(place.stage, part_name(place.digest), deadline, clock)

    def __enter__(self) -> Part:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.file)

    def begin(self) -> int:
        """How much of it there is already; a part that is too long begins anew."""
        found = os.fstat(self.file).st_size
        if found > self.place.size:
            self.restart()
            return 0
        return found

    def restart(self) -> None:
        os.ftruncate(self.file, 0)

    def check_room(self) -> None:
        """:raises OSError: the disk has no room for what is missing"""
        about = os.fstatvfs(self.file)
        missing = self.place.size - os.fstat(self.file).st_size
        if missing > about.f_bavail * about.f_frsize:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write(self, block: bytes, offset: int) -> None:
        """:raises OSError: it cannot be written"""
        left = memoryview(block)
        while left:
            done = os.pwrite(self.file, left, offset)
            left, offset = left[done:], offset + done

    def is_right(self) -> bool:
        found = os.fstat(self.file).st_size
        return found == self.place.size and digest_of(self.file) == self.place.digest

    def finish(self, mode: int) -> None:
        """Give it its mode and its name, on disk.  :raises OSError: it has neither"""
        os.fchmod(self.file, mode & PERMISSIONS)
        os.fsync(self.file)
        os.rename(
            part_name(self.place.digest),
            self.place.name,
            src_dir_fd=self.place.stage,
            dst_dir_fd=self.place.directory,
        )

    def drop(self) -> None:
        """It is none that anybody could go on with."""
        os.unlink(part_name(self.place.digest), dir_fd=self.place.stage)


def _locked(stage: int, name: str, deadline: float, clock: Callable[[], float]) -> int:
    while True:
        file = _opened(stage, name)
        try:
            if _lock(file) and _is_still(file, stage, name):
                os.fchmod(file, walk.PRIVATE)  # not before: another may have given it its mode
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        if clock() > deadline:
            raise TimeoutError
        time.sleep(LOOK)


def _opened(stage: int, name: str) -> int:
    """What is no file of the user's own, under this name alone, gives way."""
    try:
        file = os.open(name, _PART, walk.PRIVATE, dir_fd=stage)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EACCES):
            raise
    else:
        found = os.fstat(file)
        if walk.is_own_file(found) and found.st_nlink <= 1:
            return file
        os.close(file)
    os.unlink(name, dir_fd=stage)
    return os.open(name, _PART | os.O_EXCL, walk.PRIVATE, dir_fd=stage)


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a file system without locks: two would write the same bytes
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
    return True


def _is_still(file: int, stage: int, name: str) -> bool:
    """Whether the part has its name yet, and is not a whole file since."""
    try:
        named = os.stat(name, dir_fd=stage, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(named, os.fstat(file))


def clear(stage: int, now: float) -> None:
    """Take away what broken transfers left long ago; that it cannot be done stops nobody."""
    for name in os.listdir(stage):
        try:
            if PART.fullmatch(name):
                found = os.stat(name, dir_fd=stage, follow_symlinks=False)
                if now - found.st_mtime > STALE_SECONDS:
                    os.unlink(name, dir_fd=stage)
        except OSError:
            continue
