"""Which file of a job a gateway may have of another, and where that is.  Pure.

A staged file goes from the host where the job was submitted to a node that has a task of it.  What
a task wrote, and any file that its user could read there, goes from the node that ran the task to
whoever may see the job: its owner could have had a job of that node read it.  Nothing is ever
written by this way where it comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kcms.errors import Forbidden, InvalidRequest, NotFound
from kcms.jobs.model import Job
from kcms.jobs.paths import expand
from kcms.jobs.spec import TASKS_LIMIT, SpecError, is_interactive
from kcms.jobs.spec_values import check_path
from kcms.jobs.staged import STAGEABLE, content_of

WRITTEN = ("output", "error")
NAMED = "file"
WHICH = (*STAGEABLE, *WRITTEN, NAMED)
ACTS = ("look", "read", "tail")
_MOST = 1 << 53


@dataclass(frozen=True)
class Wish:
    """One look at, or one reading of, a file of a task; see :mod:`kcms.gateway.pour`."""

    which: str
    task: int
    act: str
    begin: int | None
    size: int | None
    path: str | None

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Wish:
        """:raises InvalidRequest: none"""
        wish = cls(
            _word(body, "which", WHICH),
            _number(body, "task", TASKS_LIMIT) or 0,
            _word(body, "act", ACTS),
            _number(body, "begin", _MOST),
            _number(body, "size", _MOST),
            body.get("path"),
        )
        if (wish.path is not None) != (wish.which == NAMED):
            raise InvalidRequest(f"path goes with which {NAMED}")
        if wish.path is not None:
            try:
                check_path(wish.path)
            except SpecError as error:
                raise InvalidRequest(f"path {error}") from error
        return wish


@dataclass(frozen=True)
class Source:
    """Where a file is: on ``node`` at ``path``, of ``size`` bytes at the most where that is known;
    ``staged`` says that it is in the stage of its user."""

    node: str
    path: str
    staged: bool = False
    size: int | None = None


def source_of(job: Job, wish: Wish, asker: str) -> Source:
    """Where the file of a job is that the gateway of ``asker`` wants.

    :raises NotFound: there is none  :raises Forbidden: that host has no task of the job
    """
    if wish.which in STAGEABLE:
        return _staged(job, wish, asker)
    if is_interactive(job.spec) and wish.which != NAMED:
        raise NotFound(f"job {job.id} is interactive: what it wrote went to its kcms run alone")
    task = job.task(wish.task)
    if task is None or not task.node:
        raise NotFound(f"task {wish.task} of job {job.id} has not begun, so it has no files")
    if wish.path is not None:
        return Source(task.node, wish.path)
    path = job.spec[wish.which]
    if not path:
        raise NotFound(f"job {job.id} has no {wish.which} file")
    return Source(task.node, expand(path, job.id, wish.task, job.user))


def _staged(job: Job, wish: Wish, asker: str) -> Source:
    if wish.which not in (job.spec.get("staged") or {}):
        raise NotFound(f"the {wish.which} of job {job.id} is not staged")
    if wish.act != "read":
        raise InvalidRequest("a staged file can be read alone")
    if asker not in {task.node for task in job.open_tasks}:
        raise Forbidden(f"{asker} has no task of job {job.id}, so it needs none of its files")
    size = content_of(job.spec["staged"][wish.which])[1]
    return Source(job.submit_host, job.spec[wish.which], staged=True, size=size)


def claims(job: Job, wish: Wish, source: Source) -> dict[str, Any]:
    """What a ticket is for: this user, this file of this host, this way to read it."""
    return {
        "job": job.id,
        "user": job.user,
        "uid": job.uid,
        "gid": job.gid,
        "which": wish.which,
        "act": wish.act,
        "path": source.path,
        "staged": source.staged,
        "begin": wish.begin,
        "size": wish.size if source.size is None else source.size,
    }


def _word(body: dict[str, Any], name: str, words: tuple[str, ...]) -> str:
    value = body.get(name)
    if not isinstance(value, str) or value not in words:
        raise InvalidRequest(f"{name} must be one of {', '.join(words)}, not {value!r:.60}")
    return value


def _number(body: dict[str, Any], name: str, most: int) -> int | None:
    value = body.get(name)
    if value is None or (type(value) is int and 0 <= value <= most):
        return value
    raise InvalidRequest(f"{name} must be a whole number from 0 to {most}, not {value!r:.60}")
