"""Makes a node's report no longer than its manager takes, whatever its tasks are.  Pure.

A longer one is refused as a whole, and the node then taken for dead.  What is left out is what
costs least: first what will be told later anyway, last whole tasks that are over, which are told
when the manager has had the others forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from kcms.jobs.model import REPORT_LIMIT, Exit, NodeReport, TaskReport

EARLY_ENDS = 64
"""Ranks of a unit that still runs whose ends are told at once."""

BRIEF = 200
"""Characters of a message, when there is little room."""

ROOM = 2
"""Bytes between two members in JSON."""

Tasks = tuple[TaskReport, ...]
_OPEN = frozenset({"launching", "running"})


def early(ends: Mapping[int, Exit]) -> dict[int, Exit]:
    """Of the ends of a unit that still runs, those that are told now: the worst first."""
    return {rank: ends[rank] for rank in _worst_first(ends)[:EARLY_ENDS]}


def _worst_first(ends: Mapping[int, Exit]) -> list[int]:
    """Its ranks: what did not complete in the order in which it ended, then the others."""
    return sorted(ends, key=lambda rank: (ends[rank].code == 0, ends[rank].time, rank))


def size(value: Any) -> int:
    """Bytes of it as JSON."""
    return len(json.dumps(value))


def fitted(report: NodeReport, most: int = REPORT_LIMIT) -> NodeReport:
    """The report within ``most`` bytes, as far as that is a matter of its tasks."""
    for cut in (_without_early, _without_usage, _without_ends, _brief, _without_tasks):
        over = size(report.document()) - most
        if over <= 0:
            break
        report = replace(report, tasks=cut(report.tasks, over))
    return report


def _without_early(tasks: Tasks, _over: int) -> Tasks:
    return tuple(replace(each, ends={}) if each.phase in _OPEN else each for each in tasks)


def _without_usage(tasks: Tasks, over: int) -> Tasks:
    """Of ranks that completed first, as many as it takes."""
    found = []
    for task in tasks:
        ends = dict(task.ends)
        for rank in reversed(_worst_first(ends)):
            if over > 0:
                over -= size(ends[rank].usage) - size({})
                ends[rank] = replace(ends[rank], usage={})
        found.append(replace(task, ends=ends))
    return tuple(found)


def _without_ends(tasks: Tasks, over: int) -> Tasks:
    """A rank whose end is not told has that of its unit; so the worst are told."""
    found = []
    for task in tasks:
        ends = dict(task.ends)
        for rank in reversed(_worst_first(ends)):
            if over > 0:
                over -= size({rank: asdict(ends.pop(rank))}) - size({}) + ROOM
        found.append(replace(task, ends=ends))
    return tuple(found)


def _brief(tasks: Tasks, _over: int) -> Tasks:
    """With short sentences, and no usage; what a user or program chose is in them."""
    return tuple(
        replace(
            each,
            message=each.message[:BRIEF],
            unfit=each.unfit[:BRIEF],
            note=each.note[:BRIEF],
            exit=each.exit and replace(each.exit, usage={}, detail=each.exit.detail[:BRIEF]),
        )
        for each in tasks
    )


def _without_tasks(tasks: Tasks, over: int) -> Tasks:
    """Those that are over wait for their turn; the order is kept."""
    left = set()
    for at in sorted(range(len(tasks)), key=lambda at: (tasks[at].phase in _OPEN, -at)):
        if over > 0:
            over -= size(tasks[at].document()) + ROOM
            left.add(at)
    return tuple(each for at, each in enumerate(tasks) if at not in left)
