"""The schemas of what is told of checkpoints, of a job and of each of its tasks."""

from __future__ import annotations

from typing import Any

from kcms.jobs.ladder import RUNGS

_TEXT: dict[str, Any] = {"type": "string"}
_MOMENT: dict[str, Any] = {"type": ["number", "null"]}

OF_TASKS: dict[str, Any] = {
    "type": "object",
    "properties": {"task": {"type": ["integer", "null"]}, "check": {"type": "boolean"}},
}

IMAGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "number": {"type": "integer"},
        "node": _TEXT,
        "time": {"type": "number"},
        "size": {"type": "integer"},
        "freeze_seconds": {"type": "number"},
        "seconds": {"type": "number"},
    },
}

SAVING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "number": {"type": "integer"},
        "by": _TEXT,
        "start_time": {"type": "number"},
        "begun": {"type": "boolean"},
    },
}


def _of_task(schema: dict[str, Any]) -> dict[str, Any]:
    """Of one of the tasks of a job."""
    return {**schema, "properties": {"task": {"type": "integer"}, **schema["properties"]}}


def _or_none(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


CHECKPOINT: dict[str, Any] = {
    "type": "object",
    "description": "How far the job is safe from the loss of its node",
    "properties": {
        "rung": {"enum": list(RUNGS)},
        "why": _TEXT,
        "last": _or_none(_of_task(IMAGE)),
        "signalled": _MOMENT,
        "interval": _MOMENT,
        "interval_why": _TEXT,
        "under_way": {"type": "array", "items": _of_task(SAVING)},
        "failure": _TEXT,
        "note": _TEXT,
    },
}

SAVED: dict[str, Any] = {
    "type": "object",
    "description": "The checkpoints of a task, the newest image first",
    "properties": {
        "images": {"type": "array", "items": IMAGE},
        "saving": _or_none(SAVING),
        "failure": _TEXT,
        "failure_time": _MOMENT,
        "resume": {"type": "boolean"},
        "begun_from": {"type": ["integer", "null"]},
        "restart_by": {"type": ["string", "null"]},
        "note": _TEXT,
        "interval": _MOMENT,
        "interval_why": _TEXT,
        "signalled": _MOMENT,
        "made": {"type": "integer"},
        "made_bytes": {"type": "integer"},
        "frozen_seconds": {"type": "number"},
    },
}
