"""What the process monitor shows: the processes of jobs, as nodes said last, and those that ended.

Pure, and in memory only: a manager that was restarted fills it again from the next reports.  What a
silent node said last stays as it is, like its jobs, until these are given up.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from typing import Any

from kcms.jobs.processes import MOST, Process
from kcms.jobs.target import process_id
from kcms.terminal import plain

Key = tuple[int, int, int, int, int]
"""Pid, birth, job, task, epoch: a pid that is used again is another process."""

MEASURED = (
    "ppid", "cpu_seconds", "cpu_percent", "rss_kib", "threads", "start_time", "command",
)  # fmt: skip
"""What is shown as the node said it."""


@dataclass
class Shown:
    """A process; ``ended`` is when it was found gone (seconds since the epoch)."""

    process: Process
    user: str
    ended: float | None = None


class Processes:
    """The processes of every node, at most :data:`MOST` alive and as many ended on each.

    :param kept: seconds that one which ended is still shown
    """

    def __init__(self, kept: float = 600.0) -> None:
        self._kept = kept
        self._nodes: dict[str, dict[Key, Shown]] = {}

    def follow(self, node: str, said: Iterable[tuple[Process, str]], now: float) -> None:
        """Take what a node said is alive, each with the user whose job it is of."""
        rows = self._nodes.get(node, {})
        alive = {_key(process): (process, user) for process, user in list(said)[:MOST]}
        for key, row in rows.items():
            if row.ended is None and key not in alive:
                row.ended = now
        rows.update({key: Shown(_clean(process), user) for key, (process, user) in alive.items()})
        self._keep(node, rows, now)

    def settle(self, node: str, tasks: Set[tuple[int, int, int]], now: float) -> None:
        """End the processes of a node that are of none of its open ``tasks`` (job, task, epoch)."""
        rows = self._nodes.get(node, {})
        for key, row in rows.items():
            if row.ended is None and key[2:] not in tasks:
                row.ended = now
        self._keep(node, rows, now)

    def _keep(self, node: str, rows: dict[Key, Shown], now: float) -> None:
        over = [row for row in rows.values() if row.ended is not None]
        gone = {id(row) for row in over if not self._is_shown(row, now)}
        if len(over) - len(gone) > MOST:
            over.sort(key=lambda row: row.ended or 0.0)
            gone = {id(row) for row in over[:-MOST]}
        if gone:
            rows = {key: row for key, row in rows.items() if id(row) not in gone}
        if rows:
            self._nodes[node] = rows
        else:
            self._nodes.pop(node, None)

    def _is_shown(self, row: Shown, now: float) -> bool:
        """(The clock may have been set back since.)"""
        return row.ended is None or abs(now - row.ended) <= self._kept

    def forget_node(self, node: str) -> None:
        self._nodes.pop(node, None)

    def alive(self, node: str, pid: int) -> Process | None:
        """A process that was alive when its node said so last."""
        for key, row in self._nodes.get(node, {}).items():
            if key[0] == pid and row.ended is None:
                return row.process
        return None

    def root_of(self, node: str, task: tuple[int, int, int]) -> Process | None:
        """The first process of a task (job, task, epoch), when its node said last that it lives."""
        for key, row in self._nodes.get(node, {}).items():
            if key[2:] == task and row.process.root and row.ended is None:
                return row.process
        return None

    def job_of(self, node: str, pid: int) -> int | None:
        """The job of a process that was alive when its node said so last."""
        found = self.alive(node, pid)
        return None if found is None else found.job

    def documents(
        self, user: str | None, node: str | None, most: int, now: float, job: int | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """As API version 1 shows them, of ``user``, on ``node`` and of ``job`` (None is any), by
        node and pid; and how many were left out because there are more than ``most``: first those
        that ended.
        """
        chosen = [
            (name, row)
            for name in ([node] if node is not None else self._nodes)
            for row in self._nodes.get(name, {}).values()
            if user in (None, row.user)
            and job in (None, row.process.job)
            and self._is_shown(row, now)
        ]
        chosen.sort(key=lambda each: (each[1].ended is not None, each[0], each[1].process.pid))
        shown = sorted(chosen[:most], key=lambda each: (each[0], each[1].process.pid))
        return [_document(*each) for each in shown], len(chosen) - len(shown)


def _key(process: Process) -> Key:
    return process.pid, process.birth, process.job, process.task, process.epoch


def _clean(process: Process) -> Process:
    """A process names itself: what could break a line or a terminal is replaced."""
    shown = (process.name, process.status, process.command)
    if all(map(str.isprintable, shown)):
        return process
    name, status, command = map(plain, shown)
    return replace(process, name=name, status=status, command=command)


def _document(node: str, row: Shown) -> dict[str, Any]:
    process = row.process
    return {
        "id": process_id(process.job, process.index, process.pid, node),
        "node": node,
        "pid": process.pid,
        "name": process.name,
        "state": "R" if row.ended is None else "T",
        "ended": row.ended,
        "job": process.job,
        "task": process.index,
        "user": row.user,
        "root": process.root,
        "status": process.status if row.ended is None else "X",
        **{name: getattr(process, name) for name in MEASURED},
    }
