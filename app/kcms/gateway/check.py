"""A program of its own: can this process, which is the user, use the files of a submission?

``python3 -I -S -E check.py`` reads ``{"shared": […], "files": {field: path or null}}`` on standard
input and writes ``{"problem": null}`` or ``{"problem": "one line"}``.  It imports nothing of this
package: it starts on every submission, and runs with the user's ids and no capability, so that the
kernel and the file server decide, not we.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Mapping, Sequence

Files = Mapping[str, str | None]
JOB_ID = "%j"


class CheckError(Exception):
    """One line that names the field, the path and what is wrong with it."""


def check(files: Files, shared: Sequence[str]) -> None:
    """:raises CheckError: the first thing that would keep the job from running"""
    check_executable(str(files["executable"]), shared)
    check_directory("base_directory", str(files["base_directory"]))
    if files["input"]:
        check_input(files["input"])
    for field in ("output", "error"):
        check_written(field, str(files[field]))


def check_executable(path: str, shared: Sequence[str]) -> None:
    real = os.path.realpath(path)
    if not any(_below(real, os.path.realpath(each)) for each in shared):
        where = "" if real == path else f" (it is {real})"
        raise CheckError(
            f"executable {path}{where} is not on a shared directory: put it below "
            f"{' or '.join(shared)}, where every node sees it"
        )
    if not stat.S_ISREG(_mode("executable", path)):
        raise CheckError(f"executable {path} is no regular file")
    if not os.access(path, os.X_OK):
        raise CheckError(f"executable {path} may not be executed by this user: chmod +x it")


def check_directory(field: str, path: str) -> None:
    if not stat.S_ISDIR(_mode(field, path)):
        raise CheckError(f"{field} {path} is no directory")
    if not os.access(path, os.X_OK):
        raise CheckError(f"{field} {path} may not be entered by this user")


def check_input(path: str) -> None:
    if stat.S_ISDIR(_mode("input", path)):
        raise CheckError(f"input {path} is a directory")
    if not os.access(path, os.R_OK):
        raise CheckError(f"input {path} may not be read by this user")


def check_written(field: str, path: str) -> None:
    """A file that the job writes: it can be written, or can be made in its directory."""
    parent, _, name = path.rpartition("/")
    if JOB_ID in parent:
        raise CheckError(f"{field} {path} may have {JOB_ID} in the file's name only")
    if name in ("", ".", ".."):
        raise CheckError(f"{field} {path} is a directory, not a file")
    if JOB_ID not in name and os.path.lexists(path):
        _check_existing(field, path)
        return
    parent = parent or "/"
    check_directory(f"directory of {field}", parent)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise CheckError(f"{field} {path} cannot be made: this user may not write in {parent}")


def _check_existing(field: str, path: str) -> None:
    mode = _mode(field, path)
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        raise CheckError(f"{field} {path} is neither a file nor a device")
    if not os.access(path, os.W_OK):
        raise CheckError(f"{field} {path} may not be written by this user")


def _mode(field: str, path: str) -> int:
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - pathlib would cost 5 ms a submission
    except FileNotFoundError:
        raise CheckError(f"{field} {path} does not exist") from None
    except PermissionError:
        raise CheckError(f"{field} {path} is below a directory closed to this user") from None
    except OSError as error:
        raise CheckError(f"{field} {path} cannot be used: {error.strerror}") from None


def _below(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")


def capabilities() -> int:
    """Every capability this process holds or could pass on, as one bit set."""
    held = 0
    status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    lines = os.read(status, 65536).decode("utf-8", "replace").splitlines()
    os.close(status)
    for line in lines:
        if line.startswith(("CapInh:", "CapPrm:", "CapEff:", "CapAmb:")):
            held |= int(line.split()[1], 16)
    return held


def drop_capabilities() -> None:
    """Give up every capability.  :raises CheckError: the kernel did not take them

    Normally there are none to drop; root that speaks for itself comes here with its own.
    """
    if not capabilities():
        return
    import ctypes  # 10 ms, so only where it is needed

    class Header(ctypes.Structure):
        _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]

    libc = ctypes.CDLL(None, use_errno=True)
    version_3, clear_ambient = 0x20080522, (47, 4, 0, 0, 0)
    libc.prctl(*clear_ambient)
    libc.capset(ctypes.byref(Header(version_3, 0)), ctypes.byref((ctypes.c_uint32 * 6)()))
    if capabilities():
        raise CheckError("the gateway's check could not give up its capabilities")


def main() -> int:
    request = json.load(sys.stdin)
    problem: str | None = None
    try:
        drop_capabilities()
        check(request["files"], request["shared"])
    except CheckError as error:
        problem = str(error)
    json.dump({"problem": problem}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
