"""Which file of a job, how much of it, and as whom it is read."""

from __future__ import annotations

from typing import Any

import pytest

from kcms.errors import InvalidRequest, NotFound, ProtocolError
from kcms.gateway.output import JobFile, Wanted, file_of, wanted

JOB: dict[str, Any] = {
    "id": 12,
    "user": "alice",
    "uid": 2001,
    "gid": 2001,
    "state": "RUNNING",
    "spec": {"output": "/shared/o.%j", "error": "/shared/%j/e"},
}


def test_the_file_is_the_jobs_and_is_read_as_its_owner() -> None:
    assert file_of(JOB, "output") == JobFile("/shared/o.12", "alice", 2001)
    assert file_of(JOB, "error").path == "/shared/12/e"


def test_a_job_that_waits_has_no_output_yet() -> None:
    with pytest.raises(NotFound, match="job 12 has not begun, so there is no error yet"):
        file_of({**JOB, "state": "PENDING"}, "error")


def test_what_is_no_job_is_not_read() -> None:
    for bad in ({}, {**JOB, "uid": None}, {**JOB, "spec": {}}, {**JOB, "spec": None}):
        with pytest.raises(ProtocolError, match="is no job"):
            file_of(bad, "output")


def test_how_much_is_wanted() -> None:
    assert wanted({}) == Wanted("output", 65536)
    assert wanted({"which": "error", "bytes": "1048576"}) == Wanted("error", 1 << 20)


@pytest.mark.parametrize("count", ["0", "-1", "1048577", "1e3", "", "٣", "9" * 5000])
def test_numbers_that_are_none(count: str) -> None:
    with pytest.raises(InvalidRequest, match="bytes must be 1 to 1048576, not "):
        wanted({"bytes": count})


def test_from_where_on() -> None:
    assert wanted({"from": "0"}) == Wanted("output", 65536, 0)
    for wrong in ("", "-1", "x", "9" * 30):
        with pytest.raises(InvalidRequest, match="from must be an offset in the file, not "):
            wanted({"from": wrong})


def test_files_that_are_none() -> None:
    with pytest.raises(InvalidRequest, match="which must be one of output, error, not 'input'"):
        wanted({"which": "input"})
