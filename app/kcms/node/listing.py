"""The processes of this node's tasks, for the process monitor; some 30 µs each."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace

from kcms.jobs.model import REPORT_LIMIT, NodeReport
from kcms.jobs.processes import COMMAND_LIMIT, MOST, NAME_LIMIT, Process
from kcms.node import cgroup, procfs, procstat
from kcms.node.core import TaskId
from kcms.node.fitting import ROOM, fitted, size
from kcms.node.procstat import Birth


@dataclass(frozen=True)
class Times:
    """This moment, in seconds since the epoch and since the boot; ``ticks`` are those of a second
    in /proc."""

    wall: float
    boot: float
    ticks: int = os.sysconf("SC_CLK_TCK")


def processes(
    tasks: Iterable[tuple[TaskId, str]], now: Times, most: int = MOST, proc: str = procfs.PROC
) -> tuple[Process, ...]:
    """Everything alive in the tasks, at most ``most``: roots first, then what is oldest.

    :param tasks: each task with the directory of its unit's cgroup, which has ``init`` (ours, not
        listed) and ``task`` (the program's) below it, and in that one for each rank if it has any
    """
    found = [each for task, path in tasks for each in _of_task(task, path, now, proc)]
    found.sort(key=lambda each: (not each.root, each.birth, each.pid))
    return tuple(replace(each, command=_command(each.pid, proc)) for each in found[:most])


def _of_task(task: TaskId, path: str, now: Times, proc: str) -> list[Process]:
    """Of each rank, where the unit has a cgroup for each; else of the one task that it is."""
    ours = frozenset(cgroup.pids(f"{path}/init"))
    names = [each for each in cgroup.below(f"{path}/task") if each.isdigit()]
    if not names:
        return _of_program(task, f"{path}/task", ours, now, proc)
    return [
        replace(each, rank=int(name))
        for name in names
        for each in _of_program(task, f"{path}/task/{name}", ours, now, proc)
    ]


def _of_program(
    task: TaskId, path: str, ours: frozenset[int], now: Times, proc: str
) -> list[Process]:
    pids = cgroup.pids(path)
    born = {pid: each for pid in pids if (each := _birth(pid, proc)) is not None}
    first = _root(born, ours)
    return [_process(pid, each, task, now, pid == first) for pid, each in born.items()]


def _process(pid: int, said: Birth, task: TaskId, now: Times, is_first: bool) -> Process:
    life = max(now.boot - said.birth / now.ticks, 0.0)
    used = said.cpu / now.ticks
    return Process(
        pid,
        said.birth,
        name(said.name),
        *task,
        root=is_first,
        ppid=said.parent,
        status=said.state,
        cpu_seconds=round(used, 2),
        cpu_percent=round(100.0 * used / life, 1) if life else 0.0,
        rss_kib=said.rss_kib,
        threads=said.threads,
        start_time=round(now.wall - life, 2),
    )


def _root(born: dict[int, Birth], ours: frozenset[int]) -> int:
    """The program itself: of the children of our init the first born; orphans come later."""
    tops = [pid for pid, each in born.items() if each.parent in ours]
    return min(tops, key=lambda pid: (born[pid].birth, pid), default=0)


def _birth(pid: int, proc: str) -> Birth | None:
    found = procstat.birth_of(pid, proc)
    return None if found is None or procstat.is_over(found.state) else found


def _command(pid: int, proc: str) -> str:
    return procfs.plain(procstat.command(pid, proc), COMMAND_LIMIT)


def name(text: str) -> str:
    """A name of a process as one line of printable characters; its owner chooses it freely."""
    return procfs.plain(text, NAME_LIMIT) or "?"


def with_processes(
    report: NodeReport, processes: Iterable[Process], most: int = REPORT_LIMIT
) -> NodeReport:
    """The report, :func:`fitted` into ``most`` bytes, with as many processes as there is room for.

    All are told of before any has its command line, which is what may be long.
    """
    report = fitted(report, most)
    left = most - size(report.document())
    kept = []
    for each in processes:
        left -= size({**each.document(), "command": ""}) + ROOM
        if left < 0:
            break
        kept.append(each)
    left = max(left, 0)
    for at, each in enumerate(kept):
        left -= size(each.command) - 2
        if left < 0:
            kept[at:] = [replace(each, command="") for each in kept[at:]]
            break
    return replace(report, processes=tuple(kept))
