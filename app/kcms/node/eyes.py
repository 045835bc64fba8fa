"""The owner's eyes on the shared directory: a program that runs with the job owner's ids alone.

``python3 -I -S -E eyes.py``, started by :func:`kcms.node.owner.ask`, reads a request on standard
input and writes the answer.  A request has ``shared`` (directories), ``places`` (directories in
which the owner is to write), ``directories`` (to be entered) and ``open`` (rows of pid, descriptor
and path of open files).  The answer has the same names: real paths; rows for places and
directories; the stat of each open file, see :func:`_open`.

A job may stand still while it starts, hence so few imports.
"""

# pathlib would cost start-up time.
# ruff: noqa: PTH116

from __future__ import annotations

import json
import os
import stat
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


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
