"""What is told of the balancer: marks, how it sees the nodes, what it decided and why.  Pure."""

from __future__ import annotations

from typing import Any

from kcms.jobs.pressure import Marks
from kcms.manager import balance
from kcms.manager.memory import Draft, Memory
from kcms.manager.nodes import candidates
from kcms.manager.watched import Told

OUT, DOWN = "drained", "down"
"""What nodes are that neither give nor take for another reason than their pressure."""

_FIGURES = ("high", "low", "hold", "factor", "pause")


def document(memory: Memory, user: str | None) -> dict[str, Any]:
    """As API version 1 shows it.

    :param user: whose jobs; None is everybody's
    """
    marks, watch = memory.rules.balance, memory.watch
    if marks is None:
        off = "balancing is off: kcms_balance, or balance in the manager's settings, is not set"
        return {"on": False, "marks": None, "nodes": [], "why": off, "staying": [], "decisions": []}
    draft = Draft(memory)
    return {
        "on": True,
        "marks": {
            **{name: getattr(marks, name) for name in _FIGURES},
            "jobs_only": marks.jobs_only,
        },
        "nodes": _nodes(draft, marks),
        "why": watch.why or ("" if watch.told else "this manager has only begun to listen"),
        "staying": [*_staying(draft, user)],
        "decisions": [_decision(each) for each in watch.told if _may_see(each, user)],
    }


def _nodes(draft: Draft, marks: Marks) -> list[dict[str, Any]]:
    rows = []
    for there in sorted(candidates(draft), key=lambda each: each.name):
        heard = draft.base.watch.nodes.get(there.name)
        track = heard.track if heard else None
        role = balance.seen(draft, there, marks, set()).role
        if there.drained:
            role = OUT
        known = track is not None and track.value is not None
        rows.append(
            {
                "name": there.name,
                "role": role if there.up else DOWN,
                "cpus": there.cpus,
                "pressure": round(track.value, 2) if track and track.value is not None else None,
                "heard": round(track.heard, 1) if track and known else 0.0,
                "above": round(track.above, 1) if track and known else 0.0,
                "below": round(track.below, 1) if track and known else 0.0,
            }
        )
    return rows


def _staying(draft: Draft, user: str | None) -> list[dict[str, Any]]:
    """Tasks on nodes that give, and why they stay."""
    rows = []
    for (number, index), message in sorted(draft.base.watch.notes.items()):
        job = draft.job(number)
        if job is not None and user in (None, job.user):
            rows.append({"job": number, "task": index, "user": job.user, "message": message})
    return rows


def _may_see(told: Told, user: str | None) -> bool:
    return user is None or told.user in (None, user)


def _decision(told: Told) -> dict[str, Any]:
    shown = dict(vars(told))
    del shown["number"]
    return shown
