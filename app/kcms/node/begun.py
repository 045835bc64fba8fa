"""One program that a task's init begins, from the fork of its root process to the end of that.

Loaded by every task's PID 1, hence so few imports.
"""

from __future__ import annotations

import os

from kcms.node import cgroup, limits, program
from kcms.node.program import LATER, NOT_RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kcms.node import session


class Program:
    """One task's program in its cgroup: the whole unit's, or of a parallel job one below it."""

    def __init__(self, plan: dict[str, Any], task: int, own_cgroup: str) -> None:
        self.task = task
        self.cgroup = own_cgroup
        self.root = -1
        self.status: int | None = None  # as wait() gives it
        self.took: dict[str, Any] = {}
        self.limits = limits.Limits(plan["wanted"]["spec"])
        self.exceeded = ""
        self.recorded = False
        self.message = ""  # why it could not be run
        self._complaint = -1

    def start(self, plan: dict[str, Any], attached: session.Session | None) -> None:
        """:raises OSError: it was not begun"""
        self._complaint, write_end = os.pipe()
        try:
            self.root = os.fork()
        except OSError:
            os.close(write_end)
            raise
        if self.root == 0:
            program.become(plan, self.task, self.cgroup, write_end, attached)
        os.close(write_end)
        if attached is not None:
            attached.began(self.root)

    def cannot(self, why: str) -> None:
        """It never began."""
        self.status, self.message = NOT_RUN << 8, why

    @property
    def put_off(self) -> bool:
        """Whether it could not be run for now: a staged file could not be had."""
        return bool(self.message) and self.status == LATER << 8

    def over(self, status: int) -> None:
        """Its root has ended."""
        self.status = status
        if self._complaint >= 0:
            self.message = os.read(self._complaint, 4096).decode(errors="replace")
            os.close(self._complaint)

    def keep_limits(self) -> None:
        if self.limits and not self.exceeded and self.status is None:
            self.exceeded = self.limits.exceeded(self.cgroup)
            if self.exceeded:
                cgroup.kill(self.cgroup)
