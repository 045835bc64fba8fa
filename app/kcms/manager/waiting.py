"""The jobs that wait, in the order of their turn, so that a round looks at few of them.  Pure.

Those of a kind (:data:`kcms.jobs.placement.Kind`) stand in a line: when one finds no room, nobody
behind it does, and all of them are told the same.  What is kept back (:func:`kcms.jobs.queue.gate`)
stands beside the lines: of that a round looks at what changed, at what follows something that
changed, and as time passes at what may not begin yet.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from kcms.jobs.model import Job
from kcms.jobs.placement import Kind, kind_of
from kcms.jobs.queue import Turn, turn, waits
from kcms.jobs.states import State


@dataclass
class _Line:
    """The jobs of one kind; ``reasons`` has those of which nothing runs yet, by what they were
    told."""

    turns: list[Turn] = field(default_factory=list)
    reasons: dict[str, set[int]] = field(default_factory=dict)

    def join(self, job: Job) -> None:
        bisect.insort(self.turns, turn(job))
        if job.state is State.PENDING:
            self.reasons.setdefault(job.reason, set()).add(job.id)

    def leave(self, job: Job) -> None:
        del self.turns[bisect.bisect_left(self.turns, turn(job))]
        there = self.reasons.get(job.reason, set())
        there.discard(job.id)
        if not there:
            self.reasons.pop(job.reason, None)


class Waiting:
    """What is durable of them; ``jobs`` has every job that is not over, by its number."""

    def __init__(self, jobs: Mapping[int, Job]) -> None:
        self._jobs = jobs
        self._lines: dict[Kind, _Line] = {}
        self._kinds: dict[int, Kind] = {}  # of those in a line
        self.new: set[int] = set()
        """Those of which no round said whether they are kept back."""

        self.timed: set[int] = set()
        """Those kept back that time alone may free."""

        self.copied: set[int] = set()
        """Those kept back by copies on nodes, which may go at any time."""

    def follow(self, before: Job | None, job: Job) -> None:
        """A job changed, came or went; what :meth:`settle` does not name then is new."""
        if before is not None:
            self._drop(before)
        if waits(job):
            self.new.add(job.id)

    def settle(self, kept: Mapping[int, bool], copied: Container[int] = ()) -> None:
        """Take a round's word on who is kept back, and on whom a copy of theirs keeps."""
        for number, is_kept in kept.items():
            job = self._jobs.get(number)
            if job is None or not waits(job):
                continue
            self._drop(job)
            if not is_kept:
                kind = self._kinds[number] = kind_of(job)
                self._lines.setdefault(kind, _Line()).join(job)
            elif number in copied:
                self.copied.add(number)
            elif job.spec.get("begin_time"):
                self.timed.add(number)

    def _drop(self, job: Job) -> None:
        self.new.discard(job.id)
        self.timed.discard(job.id)
        self.copied.discard(job.id)
        kind = self._kinds.pop(job.id, None)
        if kind is not None:
            self._lines[kind].leave(job)
            if not self._lines[kind].turns:
                del self._lines[kind]

    def in_turn(
        self, without: Container[int], more: Iterable[tuple[Kind, Job]]
    ) -> dict[Kind, Iterator[Job]]:
        """Of each kind those that nothing keeps back, and those of ``more``, in their turn; to be
        taken before anything here changes."""
        new: dict[Kind, dict[int, Job]] = {}
        for kind, job in more:
            new.setdefault(kind, {})[job.id] = job
        return {
            kind: self._merged(kind, without, new.get(kind, {}))
            for kind in self._lines.keys() | new.keys()
        }

    def _merged(self, kind: Kind, without: Container[int], new: dict[int, Job]) -> Iterator[Job]:
        line = self._lines.get(kind)
        known = (each for each in (line.turns if line else ()) if each[-1] not in without)
        for *_, number in heapq.merge(known, sorted(map(turn, new.values()))):
            yield new.get(number) or self._jobs[number]

    def told_otherwise(self, kind: Kind, reason: str) -> list[int]:
        """Those of a kind that nothing keeps back and that were told another reason."""
        reasons = self._lines[kind].reasons if kind in self._lines else {}
        return [each for told, group in reasons.items() if told != reason for each in group]
