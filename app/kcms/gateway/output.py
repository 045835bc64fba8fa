"""Which file of a job is wanted, and how much of it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from kcms.errors import InvalidRequest, NotFound, ProtocolError
from kcms.jobs.paths import expand
from kcms.jobs.spec import is_interactive, task_count

MOST_BYTES = 1 << 20
BYTES = 64 * 1024
FILES = ("output", "error")


@dataclass(frozen=True)
class Wanted:
    """At most ``count`` bytes of a task's file: its end, or what follows offset ``begin``."""

    which: str
    count: int
    begin: int | None = None
    task: int = 0


class JobFile(NamedTuple):
    """A job's file, and as whom it is read: the job's owner, whoever asks."""

    path: str
    user: str
    uid: int


def wanted(query: Mapping[str, str]) -> Wanted:
    """:raises InvalidRequest: no such file or number"""
    which, count = query.get("which", FILES[0]), query.get("bytes", str(BYTES))
    if which not in FILES:
        raise InvalidRequest(f"which must be one of {', '.join(FILES)}, not {which!r:.100}")
    number = int(count) if count.isascii() and count.isdigit() and len(count) < 10 else 0
    if not 0 < number <= MOST_BYTES:
        raise InvalidRequest(f"bytes must be 1 to {MOST_BYTES}, not {count!r:.100}")
    begin, task = query.get("from"), query.get("task", "0")
    if not _is_number(task):
        raise InvalidRequest(f"task must be the index of a task, not {task!r:.100}")
    if begin is None:
        return Wanted(which, number, None, int(task))
    if not _is_number(begin):
        raise InvalidRequest(f"from must be an offset in the file, not {begin!r:.100}")
    return Wanted(which, number, int(begin), int(task))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def file_of(job: Mapping[str, Any], which: str, task: int = 0) -> JobFile:
    """The file of a task, from the manager's document of its job.

    :raises NotFound: it has not begun, or there is none  :raises ProtocolError: no such document
    """
    try:
        number, path, user = int(job["id"]), str(job["spec"][which]), str(job["user"])
        found = JobFile(expand(path, number, task, user), user, int(job["uid"]))
        attached = is_interactive(job["spec"])
        waits, size = job["state"] == "PENDING", task_count(job["spec"])
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError("the manager's answer is no job") from error
    if task >= size:
        raise NotFound(f"job {number} has the tasks 0 to {size - 1}, and no task {task}")
    if attached:
        raise NotFound(f"job {number} is interactive: what it wrote went to its kcms run alone")
    if not found.path.startswith("/"):
        raise NotFound(f"job {number} has no {which} file")
    if waits:
        raise NotFound(f"job {number} has not begun, so there is no {which} yet")
    return found


def node_of(job: Mapping[str, Any], task: int) -> str:
    """The node that has, or had, a task; empty when there is none, or the manager is an old one."""
    rows = job.get("tasks")
    for each in rows if isinstance(rows, list) else ():
        if isinstance(each, dict) and each.get("index") == task:
            return str(each.get("node") or "")
    return ""


def is_below(path: str, shared: Sequence[str]) -> bool:
    """Whether a file has a name on a shared directory."""
    return any(path.startswith(each.rstrip("/") + "/") for each in shared)
