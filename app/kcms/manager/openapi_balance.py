"""The schema of how the balancer stands."""

from __future__ import annotations

from typing import Any

from kcms.jobs.pressure import ROLES
from kcms.manager.balance_told import DOWN, OUT

_TEXT, _WHOLE, _NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
_FIGURE = {"type": ["number", "null"]}
_MAYBE, _MAYBE_WHOLE = {"type": ["string", "null"]}, {"type": ["integer", "null"]}


def _rows(**members: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": {"type": "object", "properties": members}}


BALANCE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "on": {"type": "boolean"},
        "marks": {
            "type": ["object", "null"],
            "properties": {
                **dict.fromkeys(("high", "low", "hold", "factor", "pause"), _NUMBER),
                "jobs_only": {"type": "boolean"},
            },
        },
        "nodes": _rows(
            name=_TEXT,
            role={"enum": [*ROLES, OUT, DOWN]},
            cpus=_WHOLE,
            pressure=_FIGURE,
            heard=_NUMBER,
            above=_NUMBER,
            below=_NUMBER,
        ),
        "why": _TEXT,
        "staying": _rows(job=_WHOLE, task=_WHOLE, user=_TEXT, message=_TEXT),
        "decisions": _rows(
            time=_NUMBER,
            message=_TEXT,
            job=_MAYBE_WHOLE,
            task=_MAYBE_WHOLE,
            user=_MAYBE,
            source=_MAYBE,
            target=_MAYBE,
            gain=_FIGURE,
            cost=_FIGURE,
            outcome=_TEXT,
        ),
    },
}
