"""What is a plain request, and what is left to aiohttp."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcms.express import HEAD_LIMIT, NotPlain, Road, parsed
from kcms.http import BODY_LIMIT, BULK


async def nobody(_request: Any) -> Any:
    raise AssertionError


ROAD = Road({"/v1/jobs": nobody, BULK: nobody}, ("Kcms-As",))
LINE = b"POST /v1/jobs HTTP/1.1\r\n"
GOOD = LINE + b"Host: x\r\ncontent-length: 4\r\nKCMS-AS:  alice \r\n\r\nbody"


def test_a_plain_request_is_taken_apart() -> None:
    assert parsed(ROAD, b"??" + GOOD + b"more", 2) == (
        "/v1/jobs",
        {"Kcms-As": "alice"},
        b"body",
        2 + len(GOOD),
    )


def test_each_path_has_its_own_room() -> None:
    size = BODY_LIMIT + 1
    big = GOOD.replace(b"length: 4", b"length: %d" % size)
    with pytest.raises(NotPlain):
        parsed(ROAD, big, 0)
    bulk = big.replace(b"/v1/jobs", b"/v1/jobs/bulk")[:-4] + b"x" * size
    assert parsed(ROAD, bulk, 0) == ("/v1/jobs/bulk", {"Kcms-As": "alice"}, b"x" * size, len(bulk))


@given(st.integers(0, len(GOOD) - 1))
def test_a_part_of_one_is_waited_for(cut: int) -> None:
    assert parsed(ROAD, GOOD[:cut], 0) is None


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/jobs HTTP/1.1\r\n\r\n",
        b"G",
        b"POST /v1/jobs?check=1 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/jobs HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /v1/jobs HTTP/1.1\nContent-Length: 2\n\n{}" + b" " * 200,
        b"POST  /v1/jobs HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"post /v1/jobs HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        b"\r\n" + GOOD,
        b"POST /v1/jobs HTTP/1.1\r\r",
        b"POST /v1/jobs HTTP/1.1" + b"\r" * 200,
        b"POST /v1/jobs\r",
        b"POST /v1/jobs/12/kill HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}",
        LINE + b"\r\n",
        LINE + b"Host: x\r\n\r\n",
        LINE + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nbody",
        LINE + b"Content-Length: 4, 4\r\n\r\nbody",
        LINE + b"Content-Length: +4\r\n\r\nbody",
        LINE + b"Content-Length: -4\r\n\r\nbody",
        LINE + b"Content-Length: 0x4\r\n\r\nbody",
        LINE + b"Content-Length: 99999999\r\n\r\nbody",
        LINE + b"Content-Length : 4\r\n\r\nbody",
        LINE + b" Content-Length: 4\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\n Kcms-As: bob\r\n\r\nbody",
        LINE + b"Content-Length: 4\nKcms-As: bob\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nConnection: close\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nUpgrade: websocket\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nKcms-Token: t\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nKcms-As: a\r\nkcms-as: b\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nKcms-As: a\x00b\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nKcms-As: \xc3\xa4\r\n\r\nbody",
        LINE + b"Content-Length: 4\r\nnonsense\r\n\r\nbody",
        LINE + b"Host: " + b"x" * HEAD_LIMIT,
    ],
)
def test_everything_else_is_not_plain(data: bytes) -> None:
    with pytest.raises(NotPlain):
        parsed(ROAD, data, 0)
