"""What a user may ask of a job, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.jobs.spec import DURATION_LIMIT, SpecError, check_spec, duration_text, same


def limit_of(value: Any) -> Any:
    return check_spec({"executable": "/shared/x", "time_limit": value})["time_limit"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), (1, 1), ("90s", 90), ("90m", 5400), (" 36h ", 129600), ("2d", 172800),
        ("0:00:01", 1), ("01:30:00", 5400), ("1-12:00:00", 129600), ("100:00:00", 360000),
        (DURATION_LIMIT, DURATION_LIMIT),
    ],
)  # fmt: skip
def test_a_time_limit_is_taken_as_people_write_it(value: Any, seconds: int | None) -> None:
    assert limit_of(value) == seconds
    if seconds is not None:
        assert limit_of(duration_text(seconds)) == seconds


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("90", "a text such as 90m"), ("1h30m", "a text such as"), ("", "a text such as"),
        ("1:60:00", "a text such as"), ("1:30", "a text such as"), ("\u0661m", "a text such as"),
        (1.5, "not 1.5"), (True, "not True"), ([], "a text such as"), (0, "must be from 1 s"),
        (-1, "must be from 1 s"), ("0s", "must be from 1 s"), (DURATION_LIMIT + 1, "to 3660 days"),
        ("9999d", "to 3660 days"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_one_line(value: Any, said: str) -> None:
    with pytest.raises(SpecError, match=r"^time_limit ") as caught:
        limit_of(value)
    assert said in str(caught.value)


def test_durations_are_shown_as_they_are_taken() -> None:
    shown = [duration_text(each) for each in (1, 5400, 86399, 86400, 129600)]
    assert shown == ["00:00:01", "01:30:00", "23:59:59", "1-00:00:00", "1-12:00:00"]


def test_a_specification_of_before_a_field_came_is_the_same() -> None:
    complete = check_spec({"executable": "/shared/x"})
    older = {name: each for name, each in complete.items() if name != "time_limit"}
    assert same(older, complete)
    assert not same(older, {**complete, "time_limit": 60})
    assert not same(older, {**complete, "priority": 1})
