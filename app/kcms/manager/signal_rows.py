"""The signals that jobs were given, as values and as rows of the store's table for them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from kcms.jobs.signals import Signal

TaskKey = tuple[int, int, int]
"""Job, task, epoch."""


@dataclass(frozen=True)
class Given:
    """A signal to one task; ``key`` names the request that gave it, so that the same request comes
    to nothing when it is made again.  ``done``: its node has dealt with it."""

    signal: Signal
    key: str
    done: bool = False


def read(database: sqlite3.Connection) -> dict[TaskKey, tuple[Given, ...]]:
    """Every row there is, by task and in the order of their numbers."""
    found: dict[TaskKey, list[Given]] = {}
    asked = "SELECT job, task, epoch, number, name, pid, birth, grace, rank, key, done FROM signals"
    for job, task, epoch, *rest, key, done in database.execute(f"{asked} ORDER BY number"):
        found.setdefault((job, task, epoch), []).append(Given(Signal(*rest), key, bool(done)))
    return {task: tuple(rows) for task, rows in found.items()}


def write(database: sqlite3.Connection, signals: Mapping[TaskKey, Iterable[Given]]) -> None:
    """Put the rows of each of the tasks in the place of those that it has."""
    for task, rows in signals.items():
        database.execute("DELETE FROM signals WHERE (job, task, epoch) = (?, ?, ?)", task)
        database.executemany(
            "INSERT INTO signals VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(*task, *_row(each.signal), each.key, each.done) for each in rows],
        )


def _row(signal: Signal) -> tuple[int | str | float | None, ...]:
    return signal.number, signal.name, signal.pid, signal.birth, signal.grace, signal.rank


def dealt_with(rows: Iterable[Given], upto: int, kept: int) -> tuple[Given, ...]:
    """The rows as they are once a node has dealt with those up to a number; of these, the last
    ``kept`` stay, for a request that is made again."""
    found = [replace(each, done=each.done or each.signal.number <= upto) for each in rows]
    over = sum(each.done for each in found) - kept
    return tuple(found[over:]) if over > 0 else tuple(found)
