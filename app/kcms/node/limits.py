"""How much memory a task takes, and whether that is more than it may.

Looked at four times a second by the task's PID 1, as no other means works everywhere: a cgroup's
own limit needs the memory controller, and limits of single processes see neither what they share
nor their number.  Summed resident memory (statm, proc(5)) counts shared pages once for each
process; so when that is too much, the proportional set size (smaps_rollup) decides.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH123

from __future__ import annotations

import time

from kcms.node import cgroup
from kcms.node.usage import resident

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INTERVAL = 0.25
WALK_SHARE = 20  # times as long as the last walk took there is no other
CAUSE = "memory limit"  # as in kcms.jobs.model, which would cost every init time and memory


class Limits:
    """Of one task; ``memory`` and ``rss`` in MiB, 0 for none.  ``seen_kib`` is what all of it
    had when last looked at.
    """

    def __init__(self, spec: dict[str, Any]) -> None:
        self.memory = int(spec.get("memory") or 0)
        self.rss = int(spec.get("rss_limit") or 0)
        self.seen_kib = 0
        self._walk_at = 0.0

    def __bool__(self) -> bool:
        return bool(self.memory or self.rss)

    def exceeded(self, task_cgroup: str, proc: str = "/proc") -> str:
        """One sentence when the task takes more than it may; "" when it does not."""
        pids = cgroup.pids(task_cgroup)
        found = [resident(f"{proc}/{pid}/statm") for pid in pids]
        largest, self.seen_kib = max(found, default=0), sum(found)
        if self.rss and largest > self.rss * 1024:
            return (
                f"a process of it took {largest >> 10} MiB of memory, and its RSS limit is "
                f"{self.rss} MiB"
            )
        if self.memory and self.seen_kib > self.memory * 1024:
            took = self._walk([f"{proc}/{pid}/smaps_rollup" for pid in pids])
            if took > self.memory * 1024:
                return f"it took {took >> 10} MiB of memory, and its limit is {self.memory} MiB"
        return ""

    def _walk(self, paths: list[str]) -> int:
        """KiB, from the tables of all pages; 0 before its time, as that is dear."""
        began = time.monotonic()
        if began < self._walk_at:
            return 0
        took = sum(_proportional(each) for each in paths)
        ended = time.monotonic()
        self._walk_at = ended + WALK_SHARE * (ended - began)
        return took


def _proportional(path: str) -> int:
    """KiB; 0 of a process that has ended, or that cannot be looked at."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("Pss:")), 0)
    except OSError:
        return 0
