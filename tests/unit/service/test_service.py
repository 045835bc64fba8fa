"""What reaches the journal: whole lines of ours, and no flood of one failure."""

from __future__ import annotations

import asyncio
import errno
import logging
import sys
from typing import Any

import pytest

from kcms import service


def record(message: str, *values: object, error: Any = None) -> logging.LogRecord:
    return logging.LogRecord("kcms.x", logging.INFO, "x.py", 1, message, values, error)


def test_a_file_name_cannot_begin_a_line_of_its_own() -> None:
    name = "/s/a\n<3>kcms.manager: disk on fire\r\x1b[2J\u2028\udc80ä"
    line = service.LineFormatter(priorities=True).format(record("submits %s", name))
    forged = "\\n<3>kcms.manager: disk on fire\\r\\x1b[2J\\u2028\\udc80ä"
    assert line == f"<6>kcms.x: submits /s/a{forged}"


def test_each_line_of_a_traceback_begins_as_the_record() -> None:
    try:
        raise ValueError("bad\n<2>forged")
    except ValueError:
        text = service.LineFormatter(priorities=True).format(record("no", error=sys.exc_info()))
    lines = text.split("\n")
    assert lines[0] == "<6>kcms.x: no"
    assert lines[-2:] == ["<6>kcms.x: | ValueError: bad", "<6>kcms.x: | <2>forged"]
    assert all(line.startswith("<6>kcms.x: ") for line in lines)


def test_no_priorities_outside_the_journal() -> None:
    assert service.LineFormatter(priorities=False).format(record("a %d", 1)) == "kcms.x: a 1"


def test_accept_failures_are_one_line_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    now = [1000.0]
    handler = service.AcceptFailures(lambda: now[0])
    failure = {
        "message": "socket.accept() out of system resource",
        "exception": OSError(errno.EMFILE, "Too many open files"),
    }
    loop = asyncio.new_event_loop()
    try:
        for _ in range(1000):
            handler(loop, failure)
        assert [each.getMessage() for each in caplog.records] == [
            "connections cannot be accepted: [Errno 24] Too many open files"
        ]
        now[0] += service.ACCEPT_SECONDS
        handler(loop, failure)
        assert len(caplog.records) == 2
        handler(loop, {"message": "something else"})
        assert caplog.records[-1].getMessage() == "something else"
    finally:
        loop.close()
