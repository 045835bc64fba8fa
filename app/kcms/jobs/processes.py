"""Processes of jobs as a node reports them, and as the process monitor shows them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kcms.jobs.members import Members

MOST = 512
"""Processes that one report of a node names at the most; roots of tasks come first."""


@dataclass(frozen=True)
class Process:
    """A process of a task that is alive.

    ``pid`` is the host's; ``birth`` the kernel's start time of it (clock ticks since the boot,
    field 22 of proc_pid_stat(5)), so that a pid that is used again is known as another process.
    ``root`` is the first process of the task, whose end is the task's.
    """

    pid: int
    birth: int
    name: str
    job: int
    task: int
    epoch: int
    store: str
    root: bool = False

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> Process:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "process")
        return cls(
            pid=row.whole("pid"),
            birth=row.whole("birth"),
            name=row.text("name")[:64],
            job=row.whole("job"),
            task=row.whole("task"),
            epoch=row.whole("epoch"),
            store=row.store(),
            root=row.members.get("root") is True,
        )
