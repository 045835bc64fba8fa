"""What is known of a migration in figures: what its check foretells, and what was measured.

No two hosts' clocks are compared.  The source says, with the answer that the job is dumped, for how
long it has stood still by the source's boot clock; from there on the manager counts by its own
steady clock, until it decides the job's new place.  What is left out is on the line: the message
that brings the source's answer, and the one that has the target thaw the job.  A manager that was
begun anew meanwhile does not know since when the job stands still, and says nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kcms.jobs.freezing import foretold
from kcms.jobs.migration import Migration
from kcms.manager.memory import Draft

LONGEST = 1e6
"""Seconds that are believed of a node, and the most that is said."""


def answered(draft: Draft, number: int, moving: Migration, answer: dict[str, Any]) -> Migration:
    """The migration of a job with what an answer of the step under way has in figures."""
    if moving.phase == "checking":
        return _foretold(draft, moving, answer)
    if moving.phase == "dumping":
        _note_still(draft, number, answer)
        return replace(moving, bytes=_whole(answer.get("size")))
    return moving


def _foretold(draft: Draft, moving: Migration, answer: dict[str, Any]) -> Migration:
    memory = _whole(answer.get("memory_kib"))
    if memory is None:
        return moving
    size = memory * 1024
    seconds = foretold(size, moving.source, moving.target, draft.base.past_moves)
    return replace(moving, predicted_bytes=size, predicted_seconds=round(min(seconds, LONGEST), 3))


def _note_still(draft: Draft, number: int, answer: dict[str, Any]) -> None:
    still = answer.get("still_seconds")
    if isinstance(still, int | float) and not isinstance(still, bool) and 0 <= still <= LONGEST:
        draft.base.still_since[number] = draft.base.steady() - still


def committed(draft: Draft, number: int, moving: Migration) -> Migration:
    """The migration as its job's new place is decided."""
    since = draft.base.still_since.get(number)
    if since is None:
        return moving
    return replace(moving, freeze_seconds=round(max(draft.base.steady() - since, 0.0), 3))


def _whole(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= 1 << 53 else None
