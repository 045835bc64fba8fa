"""The order in which waiting jobs are considered, and which may not be placed yet.  Pure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from kcms.jobs.model import Job
from kcms.jobs.states import State

Turn = tuple[int, int]


def waits(job: Job) -> bool:
    """Whether any task of a job is to be placed: of one that runs those that found no room yet."""
    if job.state is State.RUNNING:
        return job.size > 1 and job.unplaced_count > 0
    return job.state is State.PENDING


def turn(job: Job) -> Turn:
    """What a waiting job is ordered by, the lowest first: its priority, then its number.

    Numbers are given in the order of submission, whatever a clock that is set says of it.
    """
    return (-job.priority, job.id)


@dataclass(frozen=True)
class Gate:
    """Why a waiting job may not be placed now; ``never``: nor at any other time."""

    reason: str
    never: bool = False


class Followed(NamedTuple):
    """What is to be known of a job that others follow."""

    state: State
    begun: bool

    @classmethod
    def of(cls, job: Job) -> Followed:
        return cls(job.state, job.start_time is not None)


def followed_by(job: Job) -> Iterator[tuple[str, int]]:
    """The jobs that a job is to follow, each with how; the words are Slurm's."""
    for each in job.spec.get("dependency") or ():
        kind, _, number = each.partition(":")
        yield kind, int(number)


def gate(job: Job, now: float, known: Callable[[int], Followed | None]) -> Gate | None:
    """What keeps a waiting job back, be there room for it or not; None when nothing does.

    :param now: seconds since the epoch
    :param known: looks up a job that another one follows, be it over or not
    """
    for kind, number in followed_by(job) if not _began(job) else ():
        found = _dependency(kind, number, known(number))
        if found is not None:
            return found
    if job.held_by:
        return Gate(f"held by {job.held_by}")
    begin = job.spec.get("begin_time")
    if begin and begin > now:
        return Gate(f"begins at {time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(begin))}")
    return None


def _began(job: Job) -> bool:
    """Whether any task of it was ever placed: then it has followed, and is begun anew."""
    return any(task.epoch for task in job.tasks)


def _dependency(kind: str, number: int, other: Followed | None) -> Gate | None:
    """What one dependency says."""
    told = f"job {number}, which it was to follow ({kind}),"
    if other is None:
        return Gate(f"{told} is not known any more", never=True)
    if kind == "after" and (other.begun or other.state.final):
        return None
    if not other.state.final:
        return Gate(f"waits for job {number} ({kind})")
    well = other.state is State.COMPLETED
    if (kind == "afterok" and not well) or (kind == "afternotok" and well):
        return Gate(f"{told} ended as {other.state.value}", never=True)
    return None
