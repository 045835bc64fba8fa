"""How often nodes are lost here, which bears on how often jobs are saved.  Pure.

A node counts as lost when it is given up, or comes back after another boot, while it has tasks:
what is shut down when it is empty costs nobody anything.
"""

from __future__ import annotations

from dataclasses import replace

from kcms.jobs.model import NodeReport
from kcms.manager.memory import Draft, Node

WRITTEN = 3600.0
"""Seconds of listening after which the time up is put on record, though no node was lost."""


def heed(draft: Draft, node: Node, said: NodeReport) -> None:
    """Take from a report that its node was booted in the middle of something."""
    before, memory = node.report, draft.base
    known = before is not None and node.silence <= memory.rules.node_lost  # else it was counted
    if known and before and before.boot_id != said.boot_id and draft.tasks_on(node.name):
        _count(draft, 1)


def tick(draft: Draft, listened: float) -> None:
    """Let time pass, after it was added to the silence of the nodes."""
    memory, limit = draft.base, draft.base.rules.node_lost
    up = sum(memory.is_up(node) for node in memory.nodes.values())
    seen = memory.losses
    memory.losses = replace(seen, up_seconds=seen.up_seconds + up * listened)
    memory.uncounted += listened
    lost = sum(
        node.silence - listened <= limit < node.silence and bool(draft.tasks_on(node.name))
        for node in memory.nodes.values()
    )
    if lost or memory.uncounted >= WRITTEN:
        _count(draft, lost)


def _count(draft: Draft, lost: int) -> None:
    memory = draft.base
    memory.losses = replace(memory.losses, count=memory.losses.count + lost)
    memory.uncounted = 0.0
    draft.losses = memory.losses
