"""The processes of this node's tasks, for the process monitor; some 30 µs each."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace

from kcms.jobs.model import REPORT_LIMIT, NodeReport
from kcms.jobs.processes import MOST, Process
from kcms.node import cgroup, procfs
from kcms.node.core import TaskId

NAME_LIMIT = 64
ROOM = 2
"""Bytes between two members of a JSON list."""


def processes(
    tasks: Iterable[tuple[TaskId, str]], most: int = MOST, proc: str = procfs.PROC
) -> tuple[Process, ...]:
    """Everything alive in the tasks, at most ``most``: roots first, then what is oldest.

    :param tasks: each task with the directory of its unit's cgroup, which has ``init`` (ours, not
        listed) and ``task`` (the program's) below it
    """
    found = [each for task, path in tasks for each in _of_task(task, path, proc)]
    found.sort(key=lambda each: (not each.root, each.birth, each.pid))
    return tuple(found[:most])


def _of_task(task: TaskId, path: str, proc: str) -> list[Process]:
    pids = cgroup.pids(f"{path}/task")
    if not pids:
        return []
    ours = frozenset(cgroup.pids(f"{path}/init"))
    born = {pid: each for pid in pids if (each := _birth(pid, proc)) is not None}
    first = _root(born, ours)
    return [
        Process(pid, each.birth, name(each.name), *task, root=pid == first)
        for pid, each in born.items()
    ]


def _root(born: dict[int, procfs.Birth], ours: frozenset[int]) -> int:
    """The program itself: of the children of our init the first born; orphans come later."""
    tops = [pid for pid, each in born.items() if each.parent in ours]
    return min(tops, key=lambda pid: (born[pid].birth, pid), default=0)


def _birth(pid: int, proc: str) -> procfs.Birth | None:
    try:
        found = procfs.parse_stat(procfs.read(f"{proc}/{pid}/stat"))
    except (OSError, ValueError):
        return None  # it ended meanwhile
    return None if found.state in "ZX" else found


def name(text: str) -> str:
    """A name of a process as one line of printable characters; its owner chooses it freely."""
    return procfs.plain(text, NAME_LIMIT) or "?"


def with_processes(
    report: NodeReport, processes: Iterable[Process], most: int = REPORT_LIMIT
) -> NodeReport:
    """The report with as many processes as it may have within ``most`` bytes: a longer one is
    refused as a whole, and its node taken for dead."""
    left = most - len(json.dumps(report.document()))
    kept = []
    for each in processes:
        left -= len(json.dumps(each.document())) + ROOM
        if left < 0:
            break
        kept.append(each)
    return replace(report, processes=tuple(kept))
