"""Which file of a job is wanted, and how much of it.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcms.errors import InvalidRequest, NotFound, ProtocolError
from kcms.jobs.paths import expand

MOST_BYTES = 1 << 20
BYTES = 64 * 1024
FILES = ("output", "error")


@dataclass(frozen=True)
class Wanted:
    """At most ``count`` bytes of a job's file: its end, or what follows offset ``begin``."""

    which: str
    count: int
    begin: int | None = None


@dataclass(frozen=True)
class JobFile:
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
    begin = query.get("from")
    if begin is None:
        return Wanted(which, number)
    if not (begin.isascii() and begin.isdigit() and len(begin) < 19):
        raise InvalidRequest(f"from must be an offset in the file, not {begin!r:.100}")
    return Wanted(which, number, int(begin))


def file_of(job: Mapping[str, Any], which: str) -> JobFile:
    """The file, from the manager's document of the job.

    :raises NotFound: the job has not begun  :raises ProtocolError: no such document
    """
    try:
        number, path = int(job["id"]), str(job["spec"][which])
        found = JobFile(expand(path, number), str(job["user"]), int(job["uid"]))
        waits = job["state"] == "PENDING"
    except (KeyError, TypeError, ValueError) as error:
        raise ProtocolError("the manager's answer is no job") from error
    if not found.path.startswith("/"):
        raise NotFound(f"job {number} has no {which} file")
    if waits:
        raise NotFound(f"job {number} has not begun, so there is no {which} yet")
    return found
