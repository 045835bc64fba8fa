"""The schemas of what is asked and told of files that are on one host alone."""

from __future__ import annotations

from typing import Any

from kcms.manager import filing

_NUMBER_OR_NONE: dict[str, Any] = {"type": ["integer", "null"]}

OF_A_FILE: dict[str, Any] = {
    "which": {"enum": list(filing.WHICH)},
    "act": {"enum": list(filing.ACTS)},
    "path": {"type": "string"},
    "staged": {"type": "boolean"},
    "begin": _NUMBER_OR_NONE,
    "size": _NUMBER_OR_NONE,
}

FILE_WISH: dict[str, Any] = {
    "type": "object",
    "required": ["which", "act"],
    "properties": {
        "which": OF_A_FILE["which"],
        "act": OF_A_FILE["act"],
        "task": {"type": "integer"},
        "path": {"type": ["string", "null"]},
        "begin": _NUMBER_OR_NONE,
        "size": _NUMBER_OR_NONE,
    },
}
