"""Nodes that say of themselves that they are not fit for more.  Pure, as :mod:`.core`."""

from __future__ import annotations

from kcms.jobs.model import TaskReport
from kcms.manager import migrations
from kcms.manager.memory import Draft
from kcms.manager.nodes import LONGEST_REASON, OVER_ON_NODE
from kcms.manager.rows import Drain

ITSELF = "the node"
"""At whose wish such a node is out of use."""


def heed(draft: Draft, name: str, said: TaskReport, now: float) -> None:
    """Take a node out of use that says so with the end of a task.  What stands there stays."""
    if said.unfit and said.phase in OVER_ON_NODE and draft.drain_of(name) is None:
        reason = migrations.one_line(said.unfit)[:LONGEST_REASON]
        draft.set_drain(name, Drain(reason, ITSELF, now), ITSELF, now)
