"""What a task took: CPU time, memory at its peak, input and output, and whence each figure is.

Loaded by every task's PID 1.  A figure comes from the task's cgroup where the controller is there
(``cgroup``), else from what the kernel adds up of processes that were waited for (``wait``): a
process counts what its ended children took, and in the end that of a task's PID 1 has all of them.
Only for the memory of several processes at once there is no such sum: that is looked at now and
then (``sampled``), once a second at first and ever less often, as waking up costs.
"""

# pathlib would cost every init time and memory.
# ruff: noqa: PTH123

from __future__ import annotations

import resource
import time

from kcms.node import cgroup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

CPU = ("cpu_seconds", "user_seconds", "system_seconds")
IO = ("read_bytes", "write_bytes")
SUMS = (*CPU, *IO)
FIRST_LOOK, RAREST_LOOK = 1.0, 10.0
"""Seconds between looks at memory; in between, a tenth of the time that the task has run."""


def io_of(pid: int | str, proc: str = "/proc") -> tuple[int, int] | None:
    """Bytes that a process and the children it waited for had read from and written to storage;
    None where the kernel does not count, or the process is gone."""
    try:
        with open(f"{proc}/{pid}/io", encoding="ascii") as file:
            rows = dict(line.split(": ") for line in file.read().splitlines())
        return int(rows["read_bytes"]), int(rows["write_bytes"])
    except (OSError, KeyError, ValueError):
        return None


def counted(
    task_cgroup: str, init: int | str, at_first: Iterable[int] | None, proc: str = "/proc"
) -> tuple[dict[str, float], dict[str, str]]:
    """What the task's processes took so far of what adds up, and the sources; any may be missing.

    :param init: the task's PID 1, for which ``at_first`` counts before it began anything
    """
    took, sources = _of_controllers(task_cgroup)
    if "io" not in sources:
        io = _waited_io(task_cgroup, init, at_first or (0, 0), proc)
        _add(took, sources, "io", "wait", io)
    return took, sources


def of_rank(
    rank_cgroup: str, waited: resource.struct_rusage, io: tuple[int, int] | None
) -> dict[str, Any]:
    """What one rank of a parallel job took, whose root process has just ended.

    :param io: of the root, see :func:`io_of`, while nobody had waited for it
    """
    took, sources = _of_controllers(rank_cgroup)
    if "io" not in sources:
        _add(took, sources, "io", "wait", io)
    if "cpu" not in sources:
        _add(took, sources, "cpu", "wait", _waited_cpu(waited))
    peak = cgroup.peak_kib(rank_cgroup)
    sources["memory"] = "wait" if peak is None else "cgroup"
    return {**took, "max_rss_kib": waited.ru_maxrss if peak is None else peak, "sources": sources}


def _of_controllers(path: str) -> tuple[dict[str, float], dict[str, str]]:
    took: dict[str, float] = {}
    sources: dict[str, str] = {}
    _add(took, sources, "cpu", "cgroup", cgroup.cpu_times(path))
    _add(took, sources, "io", "cgroup", cgroup.io_bytes(path))
    return took, sources


def _add(
    took: dict[str, float],
    sources: dict[str, str],
    what: str,
    source: str,
    figures: tuple[float, ...] | None,
) -> None:
    if figures is not None:
        took.update(zip(CPU if what == "cpu" else IO, figures, strict=True))
        sources[what] = source


def _waited_cpu(waited: resource.struct_rusage) -> tuple[float, float, float]:
    return waited.ru_utime + waited.ru_stime, waited.ru_utime, waited.ru_stime


def _waited_io(
    task_cgroup: str, init: int | str, at_first: Iterable[int], proc: str
) -> tuple[int, int] | None:
    """By the init and what it waited for, and by what is alive."""
    own = io_of(init, proc)
    if own is None:
        return None
    alive = [io_of(pid, proc) or (0, 0) for pid in cgroup.pids(task_cgroup)]
    read, write = (sum(each) for each in zip(own, *alive, strict=True))
    first = tuple(at_first)
    return max(read - first[0], 0), max(write - first[1], 0)


def added(
    before: dict[str, Any], here: dict[str, float], sources: dict[str, str]
) -> dict[str, Any]:
    """Sums over the nodes that a task was on; sources that differ are all named."""
    earlier = before.get("sources", {})
    return {
        **{
            name: before.get(name, 0) + here.get(name, 0)
            for name in SUMS
            if name in before or name in here
        },
        "sources": {
            name: ", ".join(dict.fromkeys(each for each in (earlier.get(name), now) if each))
            for name, now in {**earlier, **sources}.items()
        },
    }


class Usage:
    """Of one task, as its PID 1 sees it."""

    def __init__(
        self,
        task_cgroup: str,
        before: dict[str, Any],
        at_first: tuple[int, int] | None,
        proc: str = "/proc",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cgroup = task_cgroup
        self._before = before
        self._proc = proc
        self._clock = clock
        self._began = clock()
        self._look_at = self._began + FIRST_LOOK
        self._kept = cgroup.peak_kib(task_cgroup) is not None
        self._at_first = at_first
        self._restored: dict[str, float] = {}
        self.peak_kib = 0

    def restored(self) -> dict[str, float]:
        """Leave out what it took to restore the task, which is returned."""
        self._restored, _ = counted(self._cgroup, "self", self._at_first, self._proc)
        return self._restored

    def pause(self) -> float | None:
        """Seconds until memory has to be looked at; None: the kernel keeps its peak."""
        return None if self._kept else max(self._look_at - self._clock(), 0.0)

    def look(self) -> None:
        """At memory, when it is time."""
        if not self._kept and self._clock() >= self._look_at:
            pids = cgroup.pids(self._cgroup)
            self.saw(sum(resident(f"{self._proc}/{pid}/statm") for pid in pids))

    def saw(self, kib: int) -> None:
        """Take what the processes had together at this moment."""
        now = self._clock()
        self.peak_kib = max(self.peak_kib, kib)
        self._look_at = now + min(max((now - self._began) / 10, FIRST_LOOK), RAREST_LOOK)

    def document(self) -> dict[str, Any]:
        """For the record of the end, when every process was waited for."""
        waited = resource.getrusage(resource.RUSAGE_CHILDREN)
        took, sources = counted(self._cgroup, "self", self._at_first, self._proc)
        if "cpu" not in sources:
            _add(took, sources, "cpu", "wait", _waited_cpu(waited))
        here = {name: each - self._restored.get(name, 0) for name, each in took.items()}
        peak, sources["memory"] = self._peak(waited.ru_maxrss)
        found = added(self._before, here, sources)
        return {**found, "max_rss_kib": max(self._before.get("max_rss_kib", 0), peak)}

    def _peak(self, largest: int) -> tuple[int, str]:
        """KiB; the ``largest`` process alone may have had more than was seen of all at a time."""
        kept = cgroup.peak_kib(self._cgroup)
        if kept is not None:
            return kept, "cgroup"
        return (self.peak_kib, "sampled") if self.peak_kib > largest else (largest, "wait")


PAGE_KIB = resource.getpagesize() // 1024


def resident(path: str) -> int:
    """KiB, of a statm of /proc; 0 of a process that has ended, or that cannot be looked at."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE_KIB
    except OSError:
        return 0
