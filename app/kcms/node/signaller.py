"""Sends signals to processes of a task.

A process is held by a pidfd while it is looked at: one that ended and whose number another has now
is never hit, be that one of the task or not.
"""

from __future__ import annotations

import logging
import signal as system
from functools import partial

from kcms.jobs.signals import Ending, Signal
from kcms.node import cgroup, procstat

log = logging.getLogger("kcms.node")

ROUNDS = 5
"""Looks for processes that came while the others were being stopped."""


def send(path: str, told: Signal) -> int:
    """Send one signal; how many processes got it.

    :param path: the cgroup of the task's processes
    """
    number = getattr(system, f"SIG{told.name}", None)
    if not isinstance(number, system.Signals):
        log.error("a signal %.32r is unknown here, and sent to nobody", told.name)
        return 0
    if told.rank is not None:
        path = f"{path}/{told.rank}"
    if told.pid is not None:
        # What is stopped must go on to be able to end.
        more = () if told.grace is None else (system.SIGCONT,)
        return int(_to_one(path, told.pid, told.birth or 0, number, *more))
    if number == system.SIGKILL:
        count = len(cgroup.pids(path))
        cgroup.kill(path)
        return count
    return _to_all(path, number, ROUNDS if number == system.SIGSTOP else 1)


def end(path: str, ending: Ending) -> bool:
    """SIGKILL to a process, if it is still there; whether it was."""
    return _to_one(path, ending.pid, ending.birth, system.SIGKILL)


def _to_one(path: str, pid: int, birth: int, *numbers: int) -> bool:
    return cgroup.tell(pid, path, numbers, partial(_is_born, birth))


def _is_born(birth: int, pid: int) -> bool:
    found = procstat.birth_of(pid)
    return found is not None and found.birth == birth and not procstat.is_over(found.state)


def _to_all(path: str, number: int, rounds: int) -> int:
    """To each that is there, once.  What they begin on a signal does not get it, too; but what was
    begun by one that was about to be stopped is looked for again."""
    told: set[int] = set()
    for _ in range(rounds):
        new = [pid for pid in cgroup.pids(path) if pid not in told]
        if not new:
            break
        told.update(pid for pid in new if cgroup.tell(pid, path, (number,)))
    return len(told)
