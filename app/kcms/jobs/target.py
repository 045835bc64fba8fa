"""What a signal goes to, as people write it: ``12``, ``12.3`` or ``12.0.4711@alpha2``.

Standard library only, and nothing of this package: the same file is the ``kcms_target`` of the
Ansible modules.
"""

from __future__ import annotations

import re

_TARGET = re.compile(
    r"([0-9]{1,17})(?:\.([0-9]{1,10})(?:\.([0-9]{1,10})@([A-Za-z0-9_.:-]{1,255}))?)?"
)


class Target:
    """A job, a task of it, or one process of that on a node.

    (No dataclass: importing that costs every command some milliseconds.)
    """

    def __init__(
        self, job: int, task: int | None = None, pid: int | None = None, node: str | None = None
    ) -> None:
        self.job = job
        self.task = task
        self.pid = pid
        self.node = node

    def __str__(self) -> str:
        if self.task is None:
            return f"job {self.job}"
        if self.pid is None:
            return f"task {self.task} of job {self.job}"
        return f"process {process_id(self.job, self.task, self.pid, str(self.node))}"


def process_id(job: int, task: int, pid: int, node: str) -> str:
    """The id of a process in all of the cluster; the pid is that of its host."""
    return f"{job}.{task}.{pid}@{node}"


def parse(text: str) -> Target:
    """:raises ValueError: it names nothing; the message says what would be right"""
    found = _TARGET.fullmatch(text) if text.isascii() else None
    if found is None:
        raise ValueError(
            f"{text!r:.300} is no job as 12, no task as 12.3 and no process as 12.0.4711@alpha2"
        )
    job, task, pid, node = found.groups()
    return Target(int(job), _number(task), _number(pid), node)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text)
