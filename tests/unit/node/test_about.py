"""What a checkpoint says of itself is read back, or refused in a sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kcms.errors import ProtocolError
from kcms.node.about import About

FILE = {
    "path": "/s/\udcff",  # a byte that is no UTF-8
    "use": "written",
    "size": 5,
    "mtime": 1_800_000_000_123_456_789,
    "inode": (1 << 64) - 2,
    "end": -1,
}
ABOUT = About("alpha1", "4.1.1", 5, [5, 6], [5, 6, 7], {"place": "/s"}, {"elapsed": 1.5}, [FILE])


def test_it_is_read_as_it_was_written() -> None:
    assert About.parse(json.loads(json.dumps(ABOUT.document()))) == ABOUT


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"processes": [0]},
        {"pids": ["5"]},
        {"lengths": [{**FILE, "use": "other"}]},
        {"lengths": [{**FILE, "path": "o"}]},
        {"lengths": [{**FILE, "inode": 1 << 64}]},
        {"lengths": [{**FILE, "size": 1.5}]},
        {"needs": 5},
        {"root": None},
    ],
)
def test_anything_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        About.parse({**ABOUT.document(), **change})
