"""The schema of what leaves a node that is to be empty."""

from __future__ import annotations

from typing import Any

from kcms.manager.leaving import STATES

LEAVING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "node": {"type": "string"},
        "leaving": {"type": "boolean"},
        "tasks": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    **{key: {"type": "integer"} for key in ("job", "task", "size")},
                    **{key: {"type": "string"} for key in ("user", "message")},
                    "state": {"enum": list(STATES)},
                    "target": {"type": ["string", "null"]},
                    "again": {"type": ["number", "null"]},
                },
            },
        },
    },
}

USE: dict[str, Any] = {
    "type": "object",
    "required": ["state"],
    "properties": {
        "state": {"enum": ["drain", "resume"]},
        "reason": {"type": "string"},
        "migrate": {"type": "boolean"},
    },
}
