"""What of a host goes into a backup, as parts of a bounded size for the control node to fetch.

A part is a tar.gz in a directory of its own below STATE, where root alone makes names; it belongs
to whoever is logged in, so that it is fetched as a file, in pieces, and never held in memory.

Round-robin files are read under the lock that librrd itself takes for an update, each for as long
as one read from memory takes: so none is copied half written, no update waits, and one that falls
into that moment is lost like one poll (the next value bridges it).
"""

from __future__ import annotations

import fcntl
import gzip
import io
import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from ansible_collections.kcms.cluster.plugins.module_utils.host_accounts import HostError

STATE = "/var/lib/kcms"
COMMAND = "/usr/local/bin/kcms"
STAGING = ".backup-"
STAGED = re.compile(rf"{re.escape(STATE)}/{re.escape(STAGING)}[A-Za-z0-9_]+")
STORE_FILES = ("jobs.sqlite", "passwords.json")
PART_BYTES = 64 << 20
"""A part is closed when it has these many bytes."""

STALE_SECONDS = 86400.0
LOCK_SECONDS = 5.0
MOST_RRD = 256 << 20
MOST_NAMED = 20
SUFFIX = ".rrd"
_LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True)
class Packed:
    """A part that waits to be fetched.  ``after`` is its last file, empty when no more follow.

    ``left_out``: what looked like round-robin files, or a directory of them, and is not plain.
    """

    path: str
    size: int
    files: int
    after: str = ""
    left_out: tuple[str, ...] = ()


def state_directory(cluster: str, state: str = STATE) -> str:
    return f"{state}/manager-{cluster}"


def check_there(clusters: list[str], rrd_directory: str) -> None:
    """Before anything is copied.  :raises HostError: something that should be copied is not here"""
    for cluster in clusters:
        path = Path(state_directory(cluster), STORE_FILES[0])
        if not path.is_file():
            raise HostError(
                f"the manager of {cluster} has no job store here ({path}): run site.yml first"
            )
    if rrd_directory and not Path(rrd_directory).is_dir():
        raise HostError(f"there is no directory {rrd_directory} of round-robin files here")
    if clusters and _run(COMMAND, "store", "backup", "--help"):
        raise HostError("the release here cannot copy a job store: run site.yml first")


def stop_for_good(clusters: list[str]) -> None:
    """End these managers, also for the next boot.  :raises HostError: one stays"""
    for cluster in clusters:
        unit = f"kcms-manager@{cluster}.service"
        said = _run("systemctl", "disable", "--now", "--", unit)
        if said:
            raise HostError(f"cannot stop {unit}: {said}")


def pack_store(cluster: str, uid: int) -> Packed:
    """The store with its passwords and list of hosts.  :raises HostError: it cannot be copied"""
    with _staging(uid) as work:
        copy = work / "copy"
        said = _run(COMMAND, "store", "backup", cluster, str(copy))
        if said:
            raise HostError(said.removeprefix("kcms: "))
        places = [(copy / name, name) for name in STORE_FILES]
        places.append((Path(f"/etc/kcms/manager-{cluster}.hosts.json"), "hosts.json"))
        there = [(path, name) for path, name in places if path.is_file()]
        with _packing(work, uid) as (archive, _written):
            for path, name in there:
                archive.add(path, name, recursive=False, filter=_plain)
        shutil.rmtree(copy)
        return _packed(work, len(there))


def pack_rrd(directory: str, after: str, uid: int, most: int = PART_BYTES) -> Packed:
    """The files that come next, in the order of their names; those of before are left out.

    :raises HostError: one cannot be read, or the disk does not take the part
    """
    with _staging(uid) as work:
        count, last = 0, ""
        left_out: list[str] = []
        with _packing(work, uid) as (archive, written):
            for name, content, changed in _rrd_files(directory, after, left_out):
                info = tarfile.TarInfo(name)
                info.size, info.mtime, info.mode = len(content), changed, 0o644
                archive.addfile(info, io.BytesIO(content))
                count += 1
                if written.tell() >= most:
                    last = name
                    break
        return replace(_packed(work, count, last), left_out=tuple(left_out[:MOST_NAMED]))


def drop(path: str) -> None:
    """Remove a part that was fetched, with its directory.  :raises HostError: it is none"""
    directory = os.path.dirname(path)  # noqa: PTH120 - plain text
    if not STAGED.fullmatch(directory):
        raise HostError(f"{path!r:.200} is no part of a backup")
    shutil.rmtree(directory, ignore_errors=True)


def _packed(work: Path, files: int, after: str = "") -> Packed:
    part = work / "part"
    return Packed(str(part), part.stat().st_size, files, after)


@contextmanager
def _staging(uid: int) -> Iterator[Path]:
    """A directory for one part; nothing of it stays when the part does not come about."""
    for left in Path(STATE).glob(f"{STAGING}*"):
        if time.time() - left.lstat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)  # of a run that was broken off
    work: Path | None = None
    try:
        work = Path(tempfile.mkdtemp(prefix=STAGING, dir=STATE))
        work.chmod(0o711)  # whoever is logged in comes through to the part
        yield work
    except BaseException as error:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
        if isinstance(error, OSError):
            where = error.filename or STATE
            raise HostError(f"cannot make a copy: {where}: {error.strerror}") from error
        raise


@contextmanager
def _packing(work: Path, uid: int) -> Iterator[tuple[tarfile.TarFile, BinaryIO]]:
    part = work / "part"
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as raw:
        with (
            gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed,
            tarfile.open(fileobj=packed, mode="w|") as archive,
        ):
            yield archive, raw
        os.fchown(raw.fileno(), uid, -1)


def _plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = ""
    info.mode = 0o600
    return info


def _rrd_files(directory: str, after: str, left_out: list[str]) -> Iterator[tuple[str, bytes, int]]:
    """Name below ``directory``, content and time of each file whose name comes behind ``after``."""
    top = os.path.realpath(directory)
    *above, last = after.split("/")
    past = _place(above, last) if after else ()
    for path, directories, files, handle in os.fwalk(top):
        directories[:] = sorted(each for each in directories if not each.startswith("."))
        below = os.path.relpath(path, top)
        parts = () if below == "." else tuple(below.split("/"))
        left_out += (
            f"{path}/{each}"
            for each in directories
            if _place(parts, each) > past and _is_link(each, handle)
        )
        for name in sorted(files):
            if name.endswith(SUFFIX) and not name.startswith(".") and _place(parts, name) > past:
                found = _read(name, handle, f"{path}/{name}")
                if found is not None:
                    yield "/".join((*parts, name)), *found
                elif _is_there(name, handle):
                    left_out.append(f"{path}/{name}")


def _is_link(name: str, parent: int) -> bool:
    return stat.S_ISLNK(_mode(name, parent))


def _is_there(name: str, parent: int) -> bool:
    return _mode(name, parent) != 0


def _mode(name: str, parent: int) -> int:
    """Of a name in a directory; 0 when it has gone."""
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _place(parts: Iterable[str], name: str) -> tuple[tuple[bool, str], ...]:
    """Sorts as the walk goes: the files of a directory, then what is below it."""
    return (*((True, each) for each in parts), (False, name))


def _read(name: str, parent: int, path: str) -> tuple[bytes, int] | None:
    """A whole round-robin file; None for what is none (a link, a second name of another file)."""
    try:
        handle = os.open(name, _LOOK, dir_fd=parent)
    except OSError:  # it has gone, or is a link
        return None
    with os.fdopen(handle, "rb", buffering=0) as stream:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_size > MOST_RRD:
            return None
        stream.read()  # from the disk, so that under the lock it comes from memory
        stream.seek(0)
        _lock(handle, path)
        content = bytes(stream.read())
        return content, int(os.fstat(handle).st_mtime)


def _lock(handle: int, path: str) -> None:
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.lockf(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except OSError:
            if time.monotonic() > end:
                raise HostError(f"{path} was locked by another for {LOCK_SECONDS:g} s") from None
            time.sleep(0.01)


def _run(*command: str) -> str:
    """Run a command; what it said when it failed, else nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    except OSError as error:
        return f"{command[0]}: {error.strerror}"
    said = " ".join((done.stderr or done.stdout).split())
    return (said or f"{command[0]} ended with status {done.returncode}") if done.returncode else ""
