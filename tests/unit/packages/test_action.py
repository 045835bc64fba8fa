"""When the round to a host can be saved."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.kcms.cluster.plugins.action.os_packages import _all_there


@pytest.mark.parametrize(
    ("names", "seen", "expected"),
    [
        (["rrdtool"], {"installed": ["rrdtool", "python3-flask"]}, True),
        (["rrdtool", "jq"], {"installed": ["rrdtool"]}, False),
        (["rrdtool"], {"installed": ["rrdtool"], "interrupted": True}, False),
        (["rrdtool"], {}, False),
        (["rrdtool"], None, False),
        ([], {"installed": ["rrdtool"]}, False),
        ("rrdtool", {"installed": ["rrdtool"]}, False),
    ],
)
def test_what_the_preflight_saw_installed_is_not_asked_again(
    names: Any, seen: Any, expected: bool
) -> None:
    assert _all_there(names, {"kcms_preflight": seen}) is expected
