"""Signals that a manager wants sent to processes of a task, and what a node has on record of them.

Signals go by name, as machines number them differently.  Those of one task are numbered in the
order in which they were given; a node puts the number on record before it sends one, and never
sends one of that number or a lower one again.  So each is sent once at the most.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from kcms.jobs.members import Members

NAMES = (
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU",
    "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
)  # fmt: skip
"""The standard signals of signal(7), without SIG."""


def signal_name(text: str) -> str | None:
    """A signal as :data:`NAMES` has it, of a name in any case with or without SIG; None if none."""
    name = text.upper().removeprefix("SIG")
    return name if name in NAMES else None


@dataclass(frozen=True)
class Signal:
    """One signal to a unit: to every process of it, of its ``rank`` alone, or to the one with
    ``pid`` and ``birth`` (as of :class:`kcms.jobs.processes.Process`).  A newer manager may know
    more names.

    ``grace``: seconds after which that one is killed, if it is still there; None: it is not.
    """

    number: int
    name: str
    pid: int | None = None
    birth: int | None = None
    grace: float | None = None
    rank: int | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> Signal:
        """:raises ProtocolError: not such a document"""
        row = Members(document, "signal")
        return cls(
            number=row.whole("number"),
            name=row.text("name"),
            pid=row.whole_or_none("pid"),
            birth=row.whole_or_none("birth"),
            grace=row.number_or_none("grace"),
            rank=row.whole_or_none("rank"),
        )


@dataclass(frozen=True)
class Ending:
    """A process that is killed at ``deadline`` (CLOCK_BOOTTIME, seconds) if it is still there."""

    pid: int
    birth: int
    deadline: float


@dataclass(frozen=True)
class Signalled:
    """What a node has on record of a task's signals: ``done`` is the highest number dealt with."""

    done: int = 0
    endings: tuple[Ending, ...] = ()

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def parse(cls, document: Any) -> Signalled:
        """Of a record; none is as if nothing was done.  :raises KeyError, TypeError: damaged"""
        if document is None:
            return cls()
        return cls(document["done"], tuple(Ending(**each) for each in document["endings"]))
