"""The tasks of a job of several, as its page shows them.  Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kcms.client import FINAL_STATES, is_several
from kcms.errors import InvalidRequest
from kcms.jobs.spec import TASKS_LIMIT
from kcms.web import words
from kcms.web.work import KINDS, exit_words

SHOWN = 64


@dataclass(frozen=True)
class TaskRow:
    """A task in words; ``kind`` colours its state."""

    index: int
    state: str
    kind: str
    node: str
    took: str
    exit: str
    message: str


def counted(job: Mapping[str, Any]) -> str:
    """How many tasks are in each state, as ``3 RUNNING, 5 PENDING``."""
    counts = sorted((job.get("task_counts") or {}).items())
    return ", ".join(f"{number} {state}" for state, number in counts)


def rows(job: Mapping[str, Any], now: float, one: int | None = None) -> list[TaskRow]:
    """Its tasks, at most :data:`SHOWN`, what went wrong first, then what runs; and that ``one``.

    A manager of before tells of all, whatever it was asked.
    """
    tasks = list(job.get("tasks") or ()) if is_several(job) else []
    first = {int(task["index"]): task for task in sorted(tasks, key=_place)[:SHOWN]}
    first |= {int(task["index"]): task for task in tasks if int(task["index"]) == one}
    return [_row(first[index], now) for index in sorted(first)]


def is_part(job: Mapping[str, Any]) -> bool:
    """Whether there may be tasks that its document does not tell of."""
    return SHOWN <= len(job.get("tasks") or ()) < int(job["spec"].get("total_tasks") or 1)


def _place(task: Mapping[str, Any]) -> tuple[int, int]:
    state = str(task["state"])
    rank = 2 if state in ("COMPLETED", "PENDING") else int(state not in FINAL_STATES)
    return rank, int(task["index"])


def _row(task: Mapping[str, Any], now: float) -> TaskRow:
    state, start, record = str(task["state"]), task.get("start_time"), task.get("exit")
    end = record["time"] if record else now
    return TaskRow(
        index=int(task["index"]),
        state=state,
        kind=KINDS.get(state, "bad"),
        node=str(task.get("node") or ""),
        took="" if start is None else words.duration(max(float(end) - float(start), 0.0)),
        exit=exit_words([task]),
        message=words.visible(str(task.get("message") or "")),
    )


def named(text: str | None) -> int | None:
    """The task that an address names, for its job to be asked for; None when it can be none."""
    number = int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
    return number if number is not None and number < TASKS_LIMIT else None


def chosen(job: Mapping[str, Any], text: str | None) -> int:
    """The task whose files are to be shown.  :raises InvalidRequest: the job has no such task"""
    size = int(job["spec"].get("total_tasks") or 1)
    number = int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else 0
    if (text and str(number) != text) or number >= size:
        raise InvalidRequest(f"task must be from 0 to {size - 1}, not {str(text)[:40]!r}")
    return number
