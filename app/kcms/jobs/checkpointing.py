"""The checkpoints of one task, as its record has them, and what each word about them makes of it.

Pure.  What manager and nodes say to each other is :mod:`kcms.jobs.checkpoint`.  An image that is on
record is good for a beginning until it is superseded, was found to be damaged, or the task is over;
one that is taken off the record is handed back to the caller, who has it removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from kcms.jobs.checkpoint import Image, criu_version

SHOWN_FAILURE = 500
"""Characters of why a checkpoint did not come about."""


@dataclass(frozen=True)
class Kept:
    """An image on record, with the placement that it is of.

    ``machine`` and ``criu`` are what its node said of itself then.  ``noted``: that node knows that
    the image is on record, so that it does not take it away.  ``not_on`` are the nodes that said
    that the task cannot go on there.
    """

    image: Image
    epoch: int
    node: str
    machine: str = ""
    criu: str = ""
    noted: bool = False
    not_on: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        return self.image.number

    def goes_on(self, node: str, machine: str, criu: str) -> bool:
        """Whether a task may go on from it on a node, as far as that says of itself."""
        newer = criu_version(criu) >= criu_version(self.criu)
        return node not in self.not_on and machine == self.machine and newer

    def document(self) -> dict[str, Any]:
        """As API version 1 shows it."""
        image = self.image
        return {
            "number": image.number,
            "node": self.node,
            "time": image.time,
            "size": image.size,
            "freeze_seconds": image.freeze_seconds,
            "seconds": image.seconds,
        }

    @classmethod
    def of_record(cls, row: dict[str, Any]) -> Kept:
        """Of the job store.  :raises ProtocolError, TypeError, KeyError: damaged"""
        image = Image.parse(row["image"])
        return cls(**{**row, "image": image, "not_on": tuple(row["not_on"])})


@dataclass(frozen=True)
class Saving:
    """A checkpoint that was asked for; ``begun``: its turn has come, and it is wanted of a node."""

    number: int
    by: str
    start_time: float
    begun: bool = False


@dataclass(frozen=True)
class Saved:
    """What is on record of a task's checkpoints, the newest of ``kept`` first.

    ``last`` is the highest number of a move that it was given.  ``failure`` says why the last one
    that was tried, at ``failure_time``, did not come about; it is empty once one did.  ``resume``:
    the task waits, and is to go on from its newest image; ``image`` is the one that its present
    placement began from.  ``restart_by`` is who asked that it begins anew.  ``note`` tells
    its owner how it was begun the last time.  ``interval`` is that of an *auto* one in seconds, and
    ``why`` how it was found.  ``signalled`` is when a job that saves itself was last asked to.
    ``count`` images were made so far, of so many ``size_sum`` bytes, and the task stood still for
    ``frozen`` seconds for them.
    """

    kept: tuple[Kept, ...] = ()
    saving: Saving | None = None
    last: int = 0
    failure: str = ""
    failure_time: float | None = None
    resume: bool = False
    image: Image | None = None
    restart_by: str | None = None
    note: str = ""
    interval: float | None = None
    why: str = ""
    signalled: float | None = None
    count: int = 0
    size_sum: int = 0
    frozen: float = 0.0

    @property
    def newest(self) -> Kept | None:
        return self.kept[0] if self.kept else None

    @property
    def last_time(self) -> float | None:
        """When it was last saved, by us or by itself."""
        times = [each.image.time for each in self.kept[:1]]
        times += [self.signalled] if self.signalled is not None else []
        return max(times, default=None)

    def asked(self, number: int, by: str, now: float) -> Saved:
        return replace(self, last=max(number, self.last), saving=Saving(number, by, now))

    def begun(self) -> Saved:
        """Its turn has come."""
        return replace(self, saving=replace(self.saving, begun=True) if self.saving else None)

    def failed(self, why: str, now: float) -> Saved:
        return replace(self, saving=None, failure=why[:SHOWN_FAILURE], failure_time=now)

    def made(self, new: Kept, most: int) -> tuple[Saved, tuple[Kept, ...]]:
        """With another image on record, and those that it supersedes."""
        kept = (new, *self.kept)
        after = replace(
            self,
            kept=kept[:most],
            saving=None,
            failure="",
            failure_time=None,
            count=self.count + 1,
            size_sum=self.size_sum + new.image.size,
            frozen=self.frozen + new.image.freeze_seconds,
        )
        return after, kept[most:]

    def noted(self, number: int) -> Saved:
        """Its node has taken note of an image."""
        return self._each(lambda each: replace(each, noted=True) if each.number == number else each)

    def not_on(self, node: str) -> Saved:
        """A node said that the task cannot go on there from the newest image."""
        newest = self.newest
        if newest is None or node in newest.not_on:
            return self
        refused = replace(newest, not_on=(*newest.not_on, node))
        return replace(self, kept=(refused, *self.kept[1:]), image=None)

    def without(self, number: int) -> tuple[Saved, tuple[Kept, ...]]:
        """With one image less, as it cannot be used, and that image."""
        gone = tuple(each for each in self.kept if each.number == number)
        kept = tuple(each for each in self.kept if each.number != number)
        image = None if self.image is not None and self.image.number == number else self.image
        return replace(self, kept=kept, resume=self.resume and bool(kept), image=image), gone

    def without_any(self, note: str = "") -> tuple[Saved, tuple[Kept, ...]]:
        """As of a task that begins from its beginning, or is over; and the images there were."""
        after = replace(self, kept=(), saving=None, resume=False, image=None, restart_by=None)
        return replace(after, note=note or self.note), self.kept

    def waiting(self, note: str = "") -> Saved:
        """As of a task that is to be begun anew, from its newest image if it has one."""
        after = replace(self, saving=None, restart_by=None, image=None, note=note)
        return replace(after, resume=bool(self.kept))

    def anywhere(self) -> Saved:
        """As when no node has said yet that the task cannot go on there."""
        return self._each(lambda each: replace(each, not_on=()))

    def placed(self) -> Saved:
        """As of a task that gets another placement."""
        newest = self.newest if self.resume else None
        image = newest.image if newest else None
        return replace(self, saving=None, restart_by=None, resume=False, image=image)

    def _each(self, change: Callable[[Kept], Kept]) -> Saved:
        return replace(self, kept=tuple(change(each) for each in self.kept))

    def record(self) -> dict[str, Any] | None:
        """For the job store; None when there is nothing to keep."""
        return None if self == NONE else asdict(self)

    @classmethod
    def of_record(cls, row: dict[str, Any] | None) -> Saved:
        """Of the job store.  :raises ProtocolError, TypeError, KeyError: damaged"""
        if row is None:
            return NONE
        image, saving = row.get("image"), row.get("saving")
        return cls(
            **{
                **row,
                "kept": tuple(Kept.of_record(each) for each in row.get("kept", ())),
                "saving": None if saving is None else Saving(**saving),
                "image": None if image is None else Image.parse(image),
            }
        )

    def document(self) -> dict[str, Any] | None:
        """As API version 1 shows it of a task."""
        if self == NONE:
            return None
        return {
            "images": [each.document() for each in self.kept],
            "saving": None if self.saving is None else asdict(self.saving),
            "failure": self.failure,
            "failure_time": self.failure_time,
            "resume": self.resume,
            "begun_from": None if self.image is None else self.image.number,
            "restart_by": self.restart_by,
            "note": self.note,
            "interval": self.interval,
            "interval_why": self.why,
            "signalled": self.signalled,
            "made": self.count,
            "made_bytes": self.size_sum,
            "frozen_seconds": self.frozen,
        }


NONE = Saved()
"""What is on record of a task that was never saved."""
