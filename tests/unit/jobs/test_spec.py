"""What a user may ask of a job, field by field."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from kcms.jobs import spec_values
from kcms.jobs.spec import (
    DURATION_LIMIT,
    SpecError,
    check_repeatable,
    check_spec,
    duration_text,
    given,
    same,
    task_count,
)


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
        ("90", "must have its unit"), ("1h30m", "such as 90s"), ("", "such as 90s"),
        ("1:60:00", "such as 90s"), ("1:30", "such as 90s"), ("\u0661m", "such as 90s"),
        (1.5, "not 1.5"), (True, "not True"), ([], "such as 90s"), (0, "must be from 1 s"),
        (-1, "must be from 1 s"), ("0s", "must be from 1 s"), (DURATION_LIMIT + 1, "to 3660 days"),
        ("9999d", "to 3660 days"), ("999999999999d", "to 3660 days"),
    ],
)  # fmt: skip
def test_what_is_no_time_is_one_line(value: Any, said: str) -> None:
    with pytest.raises(SpecError, match=r"^time_limit ") as caught:
        limit_of(value)
    assert said in str(caught.value)


def begin_of(value: Any) -> Any:
    return check_spec({"executable": "/shared/x", "begin_time": value})["begin_time"]


def test_a_time_to_begin_is_taken_as_people_write_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spec_values.time, "time", lambda: 1000.5)
    assert (begin_of(None), begin_of(77), begin_of("+2h"), begin_of("+0:00:30")) == (
        *(None, 77, 8200, 1030),
    )
    assert begin_of("2030-01-01T00:00:00Z") == begin_of("1893456000") == 1_893_456_000
    assert begin_of("2030-01-01 02:00+02:00") == 1_893_456_000
    local = datetime(2030, 1, 1, 18, 0).astimezone()
    assert begin_of("2030-01-01T18:00") == int(local.timestamp())


@pytest.mark.parametrize("value", ["tomorrow", "18:00", "+", "+2", "2030-13-01", "", 1.5, True, []])
def test_what_is_no_time_to_begin_is_one_line(value: Any) -> None:
    with pytest.raises(SpecError, match=r"^begin_time must be a time such as 2030-12-24T18:00, or"):
        begin_of(value)


@pytest.mark.parametrize("value", [0, -1, 10**12])
def test_a_time_to_begin_is_one_of_a_calendar(value: Any) -> None:
    with pytest.raises(SpecError, match="begin_time must be a time from 1970"):
        begin_of(value)


def test_dependencies() -> None:
    def taken(value: Any) -> Any:
        return check_spec({"executable": "/shared/x", "dependency": value})["dependency"]

    assert taken(None) == []
    assert taken(["afterok:12", "after:3", "afterok:12"]) == ["afterok:12", "after:3"]
    for wrong in (["12"], ["afterok:0"], ["afterok:x"], ["before:1"], [12], ["afterok:1:2"]):
        with pytest.raises(SpecError, match=r"dependency must have texts such as afterok:12 \(aft"):
            taken(wrong)
    for wrong in ("afterok:1", ["afterok:1"] * 65):
        with pytest.raises(SpecError, match="dependency must be a list of at most 64"):
            taken(wrong)


@pytest.mark.parametrize(
    ("value", "mib"),
    [
        (None, None), (1, 1), ("512", 512), ("512M", 512), ("512 MiB", 512), ("2G", 2048),
        ("1.5g", 1536), ("1T", 1 << 20), ("1K", 1), ("1025k", 2), ("2gb", 2048), (1 << 24, 1 << 24),
    ],
)  # fmt: skip
def test_memory_is_taken_as_people_write_it(value: Any, mib: int | None) -> None:
    clean = check_spec({"executable": "/shared/x", "memory": value, "rss_limit": value})
    assert (clean["memory"], clean["rss_limit"]) == (mib, mib)


@pytest.mark.parametrize("value", ["", "much", "2GM", "-1", "1.G", "512B", 1.5, True, [], "9" * 30])
def test_what_is_no_size_is_one_line(value: Any) -> None:
    with pytest.raises(SpecError, match=r"^memory must be MiB, or a text such as 512M or 2G, not"):
        check_spec({"executable": "/shared/x", "memory": value})
    for wrong in (0, -1, "0", "17T"):
        with pytest.raises(SpecError, match="memory must be from 1 to 16777216 MiB"):
            check_spec({"executable": "/shared/x", "memory": wrong})


def test_a_key_and_a_time_from_now_on_do_not_go_together() -> None:
    for begin, key in ((None, "k"), ("+2h", None), ("2030-01-01", "k"), (7, "k")):
        check_repeatable({"begin_time": begin}, key)
    with pytest.raises(SpecError, match="is another time at each call"):
        check_repeatable({"begin_time": " +2h"}, "k")


def test_durations_are_shown_as_they_are_taken() -> None:
    shown = [duration_text(each) for each in (1, 5400, 86399, 86400, 129600)]
    assert shown == ["00:00:01", "01:30:00", "23:59:59", "1-00:00:00", "1-12:00:00"]


def test_a_specification_of_before_a_field_came_is_the_same() -> None:
    complete = check_spec({"executable": "/shared/x"})
    new = ("time_limit", "dependency", "begin_time", "hold", "memory", "rss_limit")
    older = {name: each for name, each in complete.items() if name not in new}
    assert same(older, complete)
    assert not same(older, {**complete, "time_limit": 60})
    assert not same(older, {**complete, "priority": 1})


def classed(**fields: Any) -> dict[str, Any]:
    return check_spec({"executable": "/shared/x", **fields})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"class": "batch"}, "total_tasks is missing, which a batch job needs"),
        ({"total_tasks": 2}, "total_tasks is of batch and parallel jobs, and this one is single"),
        ({"tasks_per_node": 2}, "tasks_per_node is of batch and parallel jobs"),
        ({"task_failure": "end"}, "task_failure is of batch and parallel jobs"),
        (
            {"class": "batch", "total_tasks": 0},
            "total_tasks must be a whole number from 1 to 10000",
        ),
        ({"class": "batch", "total_tasks": 10001}, "from 1 to 10000, not 10001"),
        (
            {"class": "batch", "total_tasks": 2, "output": "/s/o"},
            "output /s/o needs %t in the file",
        ),
        ({"class": "parallel", "total_tasks": 2, "error": "/s/e"}, "error /s/e needs %t"),
        ({"cpus_per_task": True}, "cpus_per_task must be a whole number"),
        ({"argument_count": 1}, "argument_count is 1, and 0 arguments are given"),
        ({"comment": "two\nlines"}, "comment must be one line"),
        ({"load_metric": "luck"}, "load_metric must be one of load, queue, load_memory"),
        ({"on_end": "x"}, "on_end must be an absolute path"),
        ({"output": "/s/a\x1b]0;b\x07"}, r"output must have no control characters, as '/s/a\x1b]0"),
        ({"executable": "/s/a\nb"}, "executable must have no control characters"),
        ({"error": "/s/\x9b2J"}, "error must have no control characters"),
    ],
)
def test_fields_that_do_not_go_together_are_one_line(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError) as caught:
        classed(**fields)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_on_record_since_an_older_release_is_read() -> None:
    older = {"executable": "/s/a\nb", "output": "/s/\x1bo"}
    assert check_spec(older, kept=True)["output"] == "/s/\x1bo"
    with pytest.raises(SpecError, match="executable must be an absolute path"):
        check_spec({"executable": "a\nb"}, kept=True)


def test_fields_that_go_together() -> None:
    assert classed(**{"class": "batch", "total_tasks": 2, "output": "/dev/null"})
    assert classed(arguments=["a"], argument_count=1)["argument_count"] == 1
    assert task_count(classed()) == task_count({}) == 1
    assert given(classed(priority=3)) == {"executable": "/shared/x", "name": "x", "priority": 3}
