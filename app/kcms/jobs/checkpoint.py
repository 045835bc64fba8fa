"""Checkpoints of running tasks: what manager and nodes say of them.

A checkpoint is an image of one unit (see :mod:`kcms.jobs.model`) that was verified when it was
written to the shared directory, as a file of the job owner's.  It is asked for in the words of
:mod:`kcms.jobs.migration`, of nodes with the ability :data:`kcms.jobs.model.CHECKPOINT` alone:
moves of three steps more, which have no other node (``target`` is the node itself).

    step    data                         what the node does, and answers
    save    {}                           dump, let the job go on at once, write the image: Image
    keep    what *save* answered         takes note that the manager has the image on record
    drop    {"images": [path, …]}        removes these images, with the owner's ids

A move of the step *save* that is no longer wanted is undone, image included, unless *keep* was
wanted of it: so no crash between the two leaves an image that nobody knows, nor takes one away that
somebody counts on.  ``number`` of all of them is drawn from the numbers of a job's migrations.

A task is begun from an image when :attr:`kcms.jobs.model.WantedTask.image` says so.  The node then
fetches it, verifies it, sees whether the job can come here, rolls files back to their length at the
checkpoint, and restores.  When it cannot it refuses the task with one of two causes.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from kcms.jobs.members import Members

STEPS = ("save", "keep", "drop")

NOT_HERE = "checkpoint"
"""The cause of a refusal: the image is good, but the job cannot come to this node."""

NO_IMAGE = "image"
"""The cause of a refusal: the image cannot be had or is damaged, so no node can use it."""


def criu_version(text: str) -> tuple[int, ...]:
    """The numbers at the beginning of a version, as far as they go: 4.1.1 -> (4, 1, 1)."""
    found = re.match(r"\d{1,9}(?:\.\d{1,9}){0,9}", text)
    return tuple(int(each) for each in found[0].split(".")) if found else ()


@dataclass(frozen=True)
class Image:
    """An image of a task, as its node wrote it; what else *save* answers is passed over.

    ``number`` is that of the move, ``path`` lies on the shared directory, ``size`` is in bytes,
    ``sha256`` hexadecimal.  ``time`` is that of the freeze (seconds since the epoch).  The job
    stood still for ``freeze_seconds``; until the image was written, ``seconds`` passed.
    """

    number: int
    path: str
    size: int
    sha256: str
    time: float
    freeze_seconds: float = 0.0
    seconds: float = 0.0

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> Image:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "image of a checkpoint")
        return cls(
            number=row.whole("number"),
            path=row.text("path"),
            size=row.whole("size"),
            sha256=row.text("sha256"),
            time=row.number("time"),
            freeze_seconds=row.number_or_none("freeze_seconds") or 0.0,
            seconds=row.number_or_none("seconds") or 0.0,
        )
