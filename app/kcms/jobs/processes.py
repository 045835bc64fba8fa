"""Processes of jobs as a node reports them, and as the process monitor shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kcms.jobs.members import Members

MOST = 512
"""Processes that one report of a node names at the most; roots of tasks come first."""

NAME_LIMIT = 64
COMMAND_LIMIT = 160
"""Characters of a name and of a command line at the most."""


@dataclass(frozen=True)
class Process:
    """A process of a task that is alive.

    ``pid`` is the host's; ``birth`` the kernel's start time of it (clock ticks since the boot,
    field 22 of proc_pid_stat(5)), so that a pid that is used again is known as another process.
    ``root`` is the first process of the task, whose end is the task's.  ``task`` is the unit that
    its node knows, ``rank`` the task in it of a parallel job.

    The rest is not known of a node of an older release: ``status`` is the letter that /proc has for
    its state, ``cpu_percent`` the share of one CPU that it had over its life, ``start_time`` in
    seconds since the epoch, ``command`` its arguments in one line.
    """

    pid: int
    birth: int
    name: str
    job: int
    task: int
    epoch: int
    store: str
    root: bool = False
    ppid: int | None = None
    status: str = ""
    cpu_seconds: float | None = None
    cpu_percent: float | None = None
    rss_kib: int | None = None
    threads: int | None = None
    start_time: float | None = None
    command: str = ""
    rank: int | None = None

    @property
    def index(self) -> int:
        """The task of the job that it is of."""
        return self.task if self.rank is None else self.rank

    def document(self) -> dict[str, Any]:
        return dict(vars(self))

    @classmethod
    def parse(cls, document: Any) -> Process:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "process")
        return cls(
            pid=row.whole("pid"),
            birth=row.whole("birth"),
            name=row.text("name")[:NAME_LIMIT],
            job=row.whole("job"),
            task=row.whole("task"),
            epoch=row.whole("epoch"),
            store=row.store(),
            root=row.members.get("root") is True,
            ppid=row.whole_or_none("ppid"),
            status=row.text("status", "")[:1],
            cpu_seconds=row.number_or_none("cpu_seconds"),
            cpu_percent=row.number_or_none("cpu_percent"),
            rss_kib=row.whole_or_none("rss_kib"),
            threads=row.whole_or_none("threads"),
            start_time=row.number_or_none("start_time"),
            command=row.text("command", "")[:COMMAND_LIMIT],
            rank=row.whole_or_none("rank"),
        )
