"""Looks at a user's files with that user's ids: root itself touches no path on a shared directory.

As a program, ``python3 -I -S -E owner.py`` started with the user's ids, it reads a request on
standard input and writes the answer.  A request has ``shared`` (directories), ``places``
(directories in which the owner is to write), ``directories`` (to be entered) and ``open`` (rows of
pid, descriptor and path of open files).  The answer has the same names: real paths; rows for places
and directories; the stat of each open file, see :func:`_open`.

The owner can trace this program and make it say anything, so that its answer protects nobody else:
for that there is :mod:`kcms.node.opened`.
"""

# pathlib would cost start-up time.
# ruff: noqa: PTH116

from __future__ import annotations

import json
import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any

PYTHON = "/usr/bin/python3"
SECONDS = 20.0
ANSWER_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer; a child that its owner traces can be made to say anything."""

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}


class OwnerError(Exception):
    """One sentence that says why the user's files could not be looked at."""


@dataclass(frozen=True)
class Ids:
    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def ask(
    ids: Ids, request: dict[str, Any], seconds: float = SECONDS, program: str = __file__
) -> dict[str, Any]:
    """The answer of a child with the owner's ids, and so without any capability.

    ``program`` reads the request and writes the answer, as this one does.

    A child that hangs in a dead file server is killed and not waited for.

    :raises OwnerError: no answer
    """
    with (
        tempfile.TemporaryFile() as order,
        tempfile.TemporaryFile() as said,
        tempfile.TemporaryFile() as complaint,
    ):
        order.write(json.dumps(request).encode())
        order.seek(0)
        child = _start(ids, order, said, complaint, program)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            raise OwnerError(
                f"looking at the owner's files took over {seconds:g} s; "
                "does the shared directory answer?"
            ) from None
        return _parsed(_content(said), _content(complaint))


def _start(
    ids: Ids,
    order: IO[bytes],
    said: IO[bytes],
    complaint: IO[bytes],
    program: str = __file__,
) -> subprocess.Popen[bytes]:
    """The child, which can write no more than the limit, whatever its owner makes it do."""
    command = [PYTHON, "-I", "-S", "-E", os.path.realpath(program)]
    change: dict[str, Any] = {}
    if os.geteuid() != ids.uid:
        change = {"user": ids.uid, "group": ids.gid, "extra_groups": list(ids.groups)}
    try:
        return subprocess.Popen(
            command, stdin=order, stdout=said, stderr=complaint, cwd="/", env=ENVIRONMENT,
            start_new_session=True, preexec_fn=_bound, **change,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise OwnerError(f"cannot look at files as their owner: {error}") from error


def _bound() -> None:
    """Of the child, for good: not even root may lower the limits of others everywhere."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER_LIMIT, ANSWER_LIMIT))


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read(ANSWER_LIMIT)


def _parsed(answer: bytes, complaint: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        words = complaint.decode(errors="replace").strip().splitlines()
        why = words[-1][:200] if words else "no answer"
        raise OwnerError(f"cannot look at files as their owner: {why}")
    return found


def answer(request: dict[str, Any]) -> dict[str, Any]:
    shared = [os.path.realpath(each) for each in request.get("shared", ())]
    return {
        "shared": shared,
        "places": [_place(each, shared) for each in request.get("places", ())],
        "directories": [_directory(each, shared) for each in request.get("directories", ())],
        "open": [_open(*row) for row in request.get("open", ())],
    }


def _place(path: str, shared: Sequence[str]) -> dict[str, Any]:
    """``free`` is KiB; ``problem`` ends a sentence that begins with the path."""
    row = _directory(path, shared)
    row["free"] = 0
    if row["problem"]:
        return row
    if not os.access(path, os.W_OK | os.X_OK):
        row["problem"] = "cannot be written by the owner of the job"
        return row
    space = os.statvfs(path)
    row["free"] = space.f_bavail * space.f_frsize // 1024
    return row


def _directory(path: str, shared: Sequence[str]) -> dict[str, Any]:
    real = os.path.realpath(path)
    inside = any(real == each or real.startswith(each.rstrip("/") + "/") for each in shared)
    found = {"path": path, "real": real, "shared": inside, "problem": _problem(path)}
    return {**found, "device": _device(real)}


def _device(path: str) -> int:
    """That of the directory, or of the first one above it that there is."""
    while path != "/":
        try:
            return os.stat(path).st_dev
        except OSError:
            path = os.path.dirname(path)  # noqa: PTH120 - start-up time
    return os.stat(path).st_dev


def _problem(path: str) -> str:
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            return "is no directory"
    except FileNotFoundError:
        return "does not exist"
    except PermissionError:
        return "is below a directory closed to the owner of the job"
    except OSError as error:
        return f"cannot be used: {error.strerror}"
    return "" if os.access(path, os.X_OK) else "may not be entered by the owner of the job"


def _open(pid: int, descriptor: int, path: str) -> list[int] | None:
    """The fields of procfs.Stat; the last says whether the path still leads to the open file.

    None when the kernel does not let the owner look, and nothing when it is closed meanwhile.
    """
    try:
        found = os.stat(f"/proc/{pid}/fd/{descriptor}")
    except FileNotFoundError:
        return []
    except OSError:
        return None
    try:
        there = os.stat(path, follow_symlinks=False)
        here = (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)
    except (OSError, ValueError):
        here = False
    numbers = [found.st_mode, found.st_dev, found.st_ino, found.st_rdev]
    return [*numbers, found.st_size, found.st_nlink, int(here)]


if __name__ == "__main__":
    json.dump(answer(json.load(sys.stdin)), sys.stdout)
