"""Which signals are to be sent to a task's processes now.  Pure, as :mod:`kcms.node.core`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from kcms.jobs.signals import Ending, Signal, Signalled
from kcms.node.core import Record, Snapshot, TaskId, is_foreign, phase


@dataclass(frozen=True)
class Send:
    """Kill the processes that are ``due``, put ``then`` on record, and send the signals."""

    task: TaskId
    signals: tuple[Signal, ...]
    due: tuple[Ending, ...]
    then: Signalled


def decide(now: Snapshot) -> list[Send]:
    """What is to be sent, in the order of the tasks; nothing to those that are being killed."""
    found = []
    for task, record in sorted(now.records.items()):
        if record.kill is None and not record.damaged and phase(now, task) == "running":
            signals = tuple(_fresh(now, task, record))
            endings = record.signalled.endings
            due = tuple(each for each in endings if now.boottime >= each.deadline)
            if signals or due:
                found.append(Send(task, signals, due, _after(now, record.signalled, signals, due)))
    return found


def _fresh(now: Snapshot, task: TaskId, record: Record) -> Iterator[Signal]:
    """The signals that are wanted and were not dealt with, by their numbers."""
    wanted = (now.wanted or {}).get(task)
    if wanted is None or wanted.want != "run" or record.restoring or is_foreign(now, task):
        return
    for each in sorted(wanted.signals, key=lambda signal: signal.number):
        if each.number > record.signalled.done:
            yield each


def _after(
    now: Snapshot, before: Signalled, signals: tuple[Signal, ...], due: tuple[Ending, ...]
) -> Signalled:
    left = [each for each in before.endings if each not in due]
    new = [
        Ending(each.pid, each.birth, now.boottime + max(each.grace, 0.0))
        for each in signals
        if each.grace is not None and each.pid is not None and each.birth is not None
    ]
    done = max([before.done, *(each.number for each in signals)])
    return Signalled(done, (*left, *new))


def next_end(now: Snapshot) -> float | None:
    """The boot time at which the next process is to be killed."""
    deadlines = [
        ending.deadline
        for task, record in now.records.items()
        if record.signalled.endings and phase(now, task) == "running"
        for ending in record.signalled.endings
    ]
    return min(deadlines, default=None)
