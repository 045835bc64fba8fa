"""Ranges: their lengths, their rounded ends, and nothing but the five."""

from __future__ import annotations

import pytest

from kcms.errors import InvalidRequest
from kcms.web.ranges import RANGES, parse


def test_lengths_in_seconds() -> None:
    lengths = {name: each.seconds for name, each in RANGES.items()}
    assert lengths == {
        "hour": 3600,
        "day": 86400,
        "week": 604800,
        "month": 2419200,
        "year": 31449600,
    }


def test_window_ends_on_the_step_before_now() -> None:
    assert RANGES["hour"].window(1_000_000_007.9) == (999_996_405, 1_000_000_005)
    assert RANGES["day"].window(1_000_000_019) == (999_913_560, 999_999_960)


def test_default_when_none_is_named() -> None:
    assert parse(None, "week").name == "week"


@pytest.mark.parametrize("text", ["", "Hour", "2hr", "<script>", "hour&x=1", "job"])
def test_any_other_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text, "hour")
    assert str(caught.value) == "unknown range; known are hour, day, week, month, year"
