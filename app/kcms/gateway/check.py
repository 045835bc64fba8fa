"""What this process, which is the user, can do with that user's files.

:func:`answer` gets one of these and returns what stands below it:

    {"shared": […], "files": [{field: path or null}, …]}     can submissions use these files?
        (of a staged job with "staged", a text: the fields of files that nodes bring from this host)
        {"problems": [null or "one line", …]}
    {"seen": PATH, "shared": […]}      is a file where every node sees it?  {"seen": BOOL}
    {"tail": {"name": …, "path": …, "bytes": N, "from": OFFSET or null}}
        the end of a file, or what follows an offset
        {"size": …, "offset": …, "end": …, "text": …} or {"problem": "one line", "code": …}

It runs in a child of :mod:`kcms.gateway.forks` with the user's ids and no capability, so that the
kernel and the file server decide, not we.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Mapping, Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Files = Mapping[str, str | None]
MARKS = ("%j", "%t", "%u")
SAME_EVERYWHERE = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")

ELSEWHERE = {
    "executable": "a job may run on any node",
    "on_end": "it may run on any node",
    "base_directory": "the node that runs the job has another directory there, or none",
    "input": "the node that runs the job has another file there, or none",
    "output": "it would be left on the node that runs the job, where you do not find it",
    "error": "it would be left on the node that runs the job, where you do not find it",
}
"""Why a file must be where every node sees it."""

OF_THE_NODE = ("base_directory", "output", "error")
"""What of a staged job may be on the node that runs it alone: fetch and output bring it."""

STAGED = "submit the job with --stage, which brings executable and input to the node that runs it"


class CheckError(Exception):
    """One line that names the field, the path and what is wrong with it, and its code."""

    def __init__(self, problem: str, code: str = "invalid_request") -> None:
        super().__init__(problem)
        self.code = code


def check(files: Files, shared: Sequence[str]) -> None:
    """:raises CheckError: the first thing that would keep the job from running"""
    staged = (files.get("staged") or "").split()
    for field, look in CHECKS.items():
        path = files.get(field)
        if path is None or (staged and field in OF_THE_NODE and not is_shared(path, shared)):
            continue
        if path not in SAME_EVERYWHERE and field not in staged:
            check_shared(field, path, shared)
        look(field, path)


def is_shared(path: str, shared: Sequence[str]) -> bool:
    """Whether every node sees it there; links are followed, as one may lead away."""
    real = os.path.realpath(path)
    return any(_below(real, os.path.realpath(each)) for each in shared)


def check_shared(field: str, path: str, shared: Sequence[str]) -> None:
    """:raises CheckError: not every node sees it there"""
    if is_shared(path, shared):
        return
    if not shared:
        raise CheckError(f"{field} {path} is on no shared directory, as there is none: {STAGED}")
    real = os.path.realpath(path)
    where = "" if real == path else f" (it is {real})"
    raise CheckError(
        f"{field} {path}{where} is not on a shared directory, and {ELSEWHERE[field]}: "
        f"name one below {' or '.join(shared)}"
    )


def check_executable(field: str, path: str) -> None:
    if not stat.S_ISREG(_mode(field, path)):
        raise CheckError(f"{field} {path} is no regular file")
    if not os.access(path, os.X_OK):
        raise CheckError(f"{field} {path} may not be executed by this user: chmod +x it")


def check_directory(field: str, path: str) -> None:
    if not stat.S_ISDIR(_mode(field, path)):
        raise CheckError(f"{field} {path} is no directory")
    if not os.access(path, os.X_OK):
        raise CheckError(f"{field} {path} may not be entered by this user")


def is_marked(path: str) -> bool:
    """Whether something is to be put into the name, so that the file is not known yet."""
    return any(mark in path for mark in MARKS)


def check_input(field: str, path: str) -> None:
    if is_marked(path):
        parent, _, _ = path.rpartition("/")
        if is_marked(parent):
            raise CheckError(f"{field} {path} may have {', '.join(MARKS)} in the file's name only")
        check_directory(f"directory of {field}", parent or "/")
        return
    mode = _mode(field, path)
    if stat.S_ISDIR(mode):
        raise CheckError(f"{field} {path} is a directory")
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        raise CheckError(f"{field} {path} is neither a file nor a device")
    if not os.access(path, os.R_OK):
        raise CheckError(f"{field} {path} may not be read by this user")


def check_written(field: str, path: str) -> None:
    """A file that the job writes: it can be written, or can be made in its directory."""
    parent, _, name = path.rpartition("/")
    if is_marked(parent):
        raise CheckError(f"{field} {path} may have {', '.join(MARKS)} in the file's name only")
    if name in ("", ".", ".."):
        raise CheckError(f"{field} {path} is a directory, not a file")
    if not is_marked(name) and os.path.lexists(path):
        _check_existing(field, path)
        return
    parent = parent or "/"
    check_directory(f"directory of {field}", parent)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise CheckError(f"{field} {path} cannot be made: this user may not write in {parent}")


CHECKS = {
    "executable": check_executable,
    "base_directory": check_directory,
    "input": check_input,
    "output": check_written,
    "error": check_written,
    "on_end": check_executable,
}


def _check_existing(field: str, path: str) -> None:
    mode = _mode(field, path)
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        raise CheckError(f"{field} {path} is neither a file nor a device")
    if not os.access(path, os.W_OK):
        raise CheckError(f"{field} {path} may not be written by this user")


def _mode(field: str, path: str) -> int:
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - this file keeps to os
    except FileNotFoundError:
        raise CheckError(f"{field} {path} does not exist") from None
    except PermissionError:
        raise CheckError(f"{field} {path} is below a directory closed to this user") from None
    except OSError as error:
        raise CheckError(f"{field} {path} cannot be used: {error.strerror}") from None


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def tail(name: str, path: str, count: int, begin: int | None = None) -> dict[str, object]:
    """The last ``count`` bytes of a regular file, or as many from ``begin`` on, as text.

    What is no UTF-8 is replaced.  A character that is not whole yet is left for the next time:
    ``end`` is where that begins.  A file that became shorter is read from its beginning.

    :raises CheckError: codes ``not_found``, ``forbidden``, ``conflict``
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - as above
            raise CheckError(f"{name} {path} is no regular file", "conflict")
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):  # another took its name
                raise CheckError(f"{name} {path} is no regular file", "conflict")
            return end_of(file, count, begin)
        finally:
            os.close(file)
    except (FileNotFoundError, NotADirectoryError):
        raise CheckError(f"{name} {path} does not exist", "not_found") from None
    except PermissionError:
        raise CheckError(f"{name} {path} may not be read by this user", "forbidden") from None
    except OSError as error:
        raise CheckError(f"{name} {path} cannot be read: {error.strerror}", "conflict") from None


def end_of(file: int, count: int, begin: int | None) -> dict[str, object]:
    """What :func:`tail` says, of an open file.  :raises OSError: it cannot be read"""
    size = os.fstat(file).st_size
    offset = max(0, size - count) if begin is None else begin if begin <= size else 0
    content = _read(file, offset, min(count, size - offset))
    if offset and begin is None:  # not in the middle of a character
        cut = next((at for at in range(min(4, len(content))) if content[at] & 0xC0 != 0x80), 0)
        offset, content = offset + cut, content[cut:]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(content)
    end = offset + len(content) - len(decoder.getstate()[0])
    return {"size": size, "offset": offset, "end": end, "text": text}


def _read(file: int, offset: int, count: int) -> bytes:
    content = b""
    while len(content) < count:
        part = os.pread(file, count - len(content), offset + len(content))
        if not part:
            break
        content += part
    return content


def answer(request: dict[str, Any]) -> dict[str, object]:
    """What a request asks for, or the problem with it."""
    try:
        if "tail" in request:
            wanted = request["tail"]
            return tail(wanted["name"], wanted["path"], wanted["bytes"], wanted["from"])
        if "seen" in request:
            return {"seen": is_shared(request["seen"], request["shared"])}
        return {"problems": problems(request["files"], request["shared"])}
    except CheckError as error:
        return {"problem": str(error), "code": error.code}


def problems(many: Sequence[Files], shared: Sequence[str]) -> list[str | None]:
    """The problem with each submission's files; what several have in common is looked at once."""
    known: dict[tuple[tuple[str, str | None], ...], str | None] = {}
    found = []
    for files in many:
        key = tuple(files.items())
        if key not in known:
            known[key] = problem(files, shared)
        found.append(known[key])
    return found


def problem(files: Files, shared: Sequence[str]) -> str | None:
    try:
        check(files, shared)
    except CheckError as error:
        return str(error)
    return None
