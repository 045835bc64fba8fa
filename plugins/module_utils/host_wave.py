"""Whether a wave of hosts came out of an upgrade well, judged by what its managers say.  Pure.

Jobs and nodes are the documents of API version 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMED = 5


@dataclass(frozen=True)
class Task:
    """One placement of a job that ran on a node before the wave."""

    cluster: str
    job: int
    task: int
    epoch: int
    node: str


def tasks_on(cluster: str, nodes: Iterable[str], jobs: Iterable[Mapping[str, Any]]) -> list[Task]:
    """The running tasks of ``nodes`` among the jobs of ``cluster``."""
    wanted = set(nodes)
    return [
        Task(cluster, int(job["id"]), int(task["index"]), int(task["epoch"]), str(task["node"]))
        for job in jobs
        for task in job["tasks"]
        if task["node"] in wanted and task["state"] in ("RUNNING", "SUSPENDED")
    ]


def node_problems(
    wanted: Sequence[str], release: str, nodes: Iterable[Mapping[str, Any]]
) -> list[str]:
    """One line for each node that is not up with the release; these may still become well."""
    seen = {str(row["name"]): row for row in nodes}
    found = []
    for name in wanted:
        row = seen.get(name)
        if row is None:
            found.append(f"its manager does not know {name}")
        elif row["state"] != "UP":
            found.append(f"{name} is {row['state']} at its manager")
        elif row["release"] != release:
            found.append(f"{name} runs release {row['release']} and not {release}")
    return found


def task_problem(task: Task, job: Mapping[str, Any]) -> str:
    """What became of a task that it should not have; empty when all is well.

    A job may have ended meanwhile, by itself or killed, or have been moved by somebody.
    """
    if job["state"] == "NODE_FAIL":
        return f"job {task.job} of {task.cluster} was lost on {task.node}"
    now = next((each for each in job["tasks"] if each["index"] == task.task), None)
    moved = now is not None and now["node"] != task.node
    if now is not None and now["epoch"] != task.epoch and not moved:
        return f"job {task.job} of {task.cluster} was started again on {task.node}"
    return ""


def shown(problems: Sequence[str]) -> str:
    """A few of them in one line."""
    more = len(problems) - NAMED
    return "; ".join(problems[:NAMED]) + (f"; and {more} more" if more > 0 else "")
