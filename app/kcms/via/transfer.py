"""Sends a file to a head and fetches one: resumed where it broke, verified, then named."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from kcms.errors import InvalidRequest, NotFound
from kcms.stage.part import part_name
from kcms.via.errors import ViaError
from kcms.via.progress import Progress
from kcms.via.staging import Local, Place, begin_at, stale

BLOCK = 1 << 17  # bytes of a request: OpenSSH takes twice as much, paramiko asks for a quarter
PERMISSIONS = 0o777
DATA = 0o666
OTHERS_WRITE = 0o022
PRIVATE = 0o600  # while it is on its way


class Head(Protocol):
    """What is needed of :class:`kcms.via.session.Session`."""

    name: str

    @property
    def files(self) -> Any: ...

    def digest(self, path: str, size: int) -> str: ...

    def close(self) -> None: ...

    def explained(self, doing: str) -> contextlib.AbstractContextManager[None]: ...


def look(field: str, path: str) -> Local:
    """A file of this machine that is to be staged.

    :raises InvalidRequest: it is no file, or an executable that may not be executed
    """
    try:
        with open(path, "rb", opener=_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidRequest(f"{field} {path} is no regular file of this machine")
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except IsADirectoryError:
        raise InvalidRequest(f"{field} {path} is a directory") from None
    except OSError as error:
        raise InvalidRequest(
            f"{field} {path} cannot be read on this machine: {error.strerror} "
            "(one that is there already, on the head or a shared directory, is written with a : "
            "before it)"
        ) from error
    if field == "executable" and not status.st_mode & 0o111:
        raise InvalidRequest(f"executable {path} may not be executed: chmod +x it")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise InvalidRequest(f"{field} {path!r} has a name that is no UTF-8: rename it") from None
    return Local(field, path, size, status.st_mode & PERMISSIONS, digest)


def _at_once(path: str, flags: int) -> int:
    """An opener that does not wait for somebody to write to a pipe."""
    return os.open(path, flags | os.O_NONBLOCK)


def put(head: Head, local: Local, place: Place, show: Callable[..., Progress] = Progress) -> bool:
    """Have ``local`` at ``place`` on the head; whether it had to be sent.

    :raises ViaError: it is not there, or not what was sent
    """
    with head.explained(f"stage {local.path} as {place.path}"):
        me = owner(head)
        for each in place.directories:
            _make_directory(head, each)
            _check_own(head, each, me)
        if _is_there(head, local, place.path, me):
            return False
        _send(head, local, place, me, show)
        head.files.chmod(place.part, local.mode)
        head.files.posix_rename(place.part, place.path)
    return True


def _make_directory(head: Head, path: str) -> None:
    """With those above that are missing; for the user alone, as what lies in it is."""
    found = _status(head, path)
    if found is None:
        parent = path.rpartition("/")[0]
        if parent:
            _make_directory(head, parent)
        with contextlib.suppress(OSError):  # somebody else has just made it
            head.files.mkdir(path, 0o700)
        found = _status(head, path)
    if found is None or not stat.S_ISDIR(found.st_mode):
        raise ViaError(f"{path} on {head.name} is no directory, and cannot be made")


def owner(head: Head) -> int:
    """The user's id on the head: that of the home, where SFTP begins."""
    return int(head.files.stat(".").st_uid)


def _check_own(head: Head, path: str, me: int) -> None:
    """:raises ViaError: others could put links or files of their own into it"""
    found, place = head.files.lstat(path), f"{path} on {head.name}"
    other = "name a directory of your own, to which nobody else may write, with --stage-to"
    if stat.S_ISLNK(found.st_mode):
        raise ViaError(f"{place} is a link: name the directory that is meant with --stage-to")
    if found.st_uid != me:
        raise ViaError(f"{place} belongs to user id {found.st_uid}, and yours is {me}: {other}")
    if found.st_mode & OTHERS_WRITE:
        mode = f"mode {found.st_mode & PERMISSIONS:04o}"
        raise ViaError(f"others may write to {place} ({mode}): chmod go-w it, or {other}")


def _is_there(head: Head, local: Local, path: str, me: int) -> bool:
    found = _status(head, path, head.files.lstat)
    if found is None or not _is_own(found, me) or found.st_size != local.size:
        return False
    if head.digest(path, local.size) != local.digest:
        return False
    if found.st_mode & PERMISSIONS != local.mode:
        head.files.chmod(path, local.mode)
    return True


def _is_own(found: Any, me: int) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_uid == me


def _send(head: Head, local: Local, place: Place, me: int, show: Callable[..., Progress]) -> None:
    """Make the part whole; one that goes on from bytes that are not ours begins anew once."""
    found = _status(head, place.part, head.files.lstat)
    begin = begin_at(found.st_size if found and _is_own(found, me) else None, local.size)
    _append(head, local, place.part, begin, show)
    if head.digest(place.part, local.size) == local.digest:
        return
    if begin:
        _append(head, local, place.part, 0, show)
        if head.digest(place.part, local.size) == local.digest:
            return
    head.files.remove(place.part)
    raise ViaError(
        f"{local.path} did not arrive as it was when it was first read: "
        "something changes it, or the way to the head damages it; try again"
    )


def _remove(head: Head, path: str) -> None:
    if _status(head, path, head.files.lstat) is not None:
        head.files.remove(path)


@contextlib.contextmanager
def remote(head: Head, path: str, mode: str) -> Iterator[Any]:
    """An open file of the head.

    When something goes wrong meanwhile, Ctrl-C say, a request may be half sent, and closing the
    file would wait for ever for its answer: so the whole connection goes.
    """
    file = head.files.open(path, mode)
    try:
        file.MAX_REQUEST_SIZE = BLOCK
        yield file
        file.close()
    except BaseException:
        head.close()
        raise


def _append(head: Head, local: Local, part: str, begin: int, show: Callable[..., Progress]) -> None:
    progress = show(local.name, local.size, begin)
    if not begin:
        _remove(head, part)
    mode = "r+b" if begin else "wx"  # x: what is there, a link say, is not opened
    try:
        with Path(local.path).open("rb") as source, remote(head, part, mode) as target:
            target.chmod(PRIVATE)
            source.seek(begin)
            target.seek(begin)
            target.set_pipelined(True)
            done = begin
            while done < local.size and (block := source.read(min(BLOCK, local.size - done))):
                target.write(block)
                done += len(block)
                progress.at(done)
            progress.say("verifying")
    finally:
        progress.end()


def get(
    head: Head,
    path: str,
    directory: Path,
    force: bool = False,
    show: Callable[..., Progress] = Progress,
) -> tuple[Path, bool]:
    """Have a file of the head in ``directory``, under its own name; and whether it was fetched.

    What is appended to it meanwhile is not fetched.  A file that is somebody else's there is not
    one to be executed here.

    :param force: replace a file of that name, whatever it has in it
    :raises NotFound: there is no such file  :raises ViaError: it cannot be had, or changes
    :raises InvalidRequest: it is no file, or another one has its name here
    """
    with head.explained(f"fetch {path}"):
        found = _status(head, path)
        if found is None:
            raise NotFound(f"there is no file {path} on {head.name}")
        if not stat.S_ISREG(found.st_mode):
            raise InvalidRequest(f"{path} on {head.name} is no regular file")
        mode = found.st_mode & (PERMISSIONS if found.st_uid == owner(head) else DATA)
        wanted = Local("", path, found.st_size, mode, head.digest(path, found.st_size))
        target = directory / wanted.name
        if _have(target, wanted):
            return target, False
        if not force:
            _check_replaceable(head, target, wanted)
        part = directory / part_name(wanted.digest)
        _receive(head, wanted, part, show)
    part.chmod(wanted.mode & ~_umask())
    part.replace(target)
    return target, True


def _have(target: Path, wanted: Local) -> bool:
    try:
        return target.stat().st_size == wanted.size and _digest(target) == wanted.digest
    except FileNotFoundError:
        return False


def _check_replaceable(head: Head, target: Path, wanted: Local) -> None:
    """Nothing is lost with what is the beginning of the file, as of a job that writes on.

    :raises InvalidRequest: it is another one
    """
    try:
        status = target.lstat()
    except FileNotFoundError:
        return
    if (
        stat.S_ISREG(status.st_mode)
        and status.st_size <= wanted.size
        and head.digest(wanted.path, status.st_size) == _digest(target)
    ):
        return
    raise InvalidRequest(
        f"{target} is there already and differs from {wanted.path} on {head.name}: "
        "fetch it --to another directory, or --force replaces what is here"
    )


def _receive(head: Head, wanted: Local, part: Path, show: Callable[..., Progress]) -> None:
    begin = begin_at(_own_size(part), wanted.size)
    _append_here(head, wanted, part, begin, show)
    if _digest(part) == wanted.digest:
        return
    if begin:
        _append_here(head, wanted, part, 0, show)
        if _digest(part) == wanted.digest:
            return
    part.unlink()
    raise ViaError(
        f"{wanted.path} did not arrive as it is on {head.name}: something changes it there, or the "
        "way damages it; try again when the job is over"
    )


def _append_here(
    head: Head, wanted: Local, part: Path, begin: int, show: Callable[..., Progress]
) -> None:
    progress = show(wanted.name, wanted.size, begin)
    try:
        with (
            _opened(part, begin) as target,
            remote(head, wanted.path, "rb") as source,
        ):
            target.seek(begin)
            source.seek(begin)
            source.prefetch(wanted.size)
            done = begin
            while done < wanted.size and (block := source.read(min(BLOCK, wanted.size - done))):
                target.write(block)
                done += len(block)
                progress.at(done)
            progress.say("verifying")
    finally:
        progress.end()


def _own_size(part: Path) -> int | None:
    """Of a part that is a file of one's own, under this name alone."""
    try:
        found = part.lstat()
    except FileNotFoundError:
        return None
    return found.st_size if _is_own(found, os.geteuid()) and found.st_nlink == 1 else None


def _opened(part: Path, begin: int) -> BinaryIO:
    """A part to write to, which is no link to another file."""
    flags = os.O_RDWR | os.O_NOFOLLOW
    if not begin:
        part.unlink(missing_ok=True)
        flags |= os.O_CREAT | os.O_EXCL
    file = os.fdopen(os.open(part, flags, PRIVATE), "r+b")
    os.fchmod(file.fileno(), PRIVATE)
    return file


def clear(head: Head, stage: str, clock: Callable[[], float] = time.time) -> None:
    """Take away what broken transfers left long ago; that it cannot be done stops nobody."""
    try:
        found = head.files.listdir_attr(stage)
    except OSError:
        return
    for name in stale(((each.filename, float(each.st_mtime or 0)) for each in found), clock()):
        with contextlib.suppress(OSError):
            head.files.remove(f"{stage}/{name}")


def _status(head: Head, path: str, look: Callable[[str], Any] | None = None) -> Any:
    try:
        return (look or head.files.stat)(path)
    except OSError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
