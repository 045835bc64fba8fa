"""What is a plain request, and what is left to aiohttp."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from hypothesis import given, settings
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


PIECES = st.sampled_from(
    [
        *(b"POST /v1/jobs HTTP/1.1\r\n", b"POST /v1/jobs/bulk HTTP/1.1\r\n", b"\r\n", b"\n", b"\r"),
        *(b"Content-Length: 4", b"content-length:4", b"Content-Length:\t04 ", b"Content-Length: 0"),
        *(
            b"Content-Length: 4,4",
            b"Content-Length: +4",
            b"Content-Length: 4_0",
            b"Content-Length:",
        ),
        *(
            b"Transfer-Encoding: chunked",
            b"Transfer-Encoding : chunked",
            b"Host: x",
            b"Accept: */*",
        ),
        *(
            b"Kcms-As: alice",
            b"KCMS-AS:bob",
            b"Kcms-As :eve",
            b" folded",
            b"Connection: keep-alive",
        ),
        *(
            b"Connection: close",
            b"Content-Encoding: gzip",
            b"body",
            b"\0",
            b"\x0b",
            b"\xc3\xa4",
            b":",
        ),
        *(b"Content-Length: 4\r\n\r\nbody", b"Expect: 100-continue", b"Upgrade: h2c", b"x" * 50),
    ]
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(PIECES, max_size=14), st.booleans())
def test_what_is_plain_means_the_same_to_aiohttp(pieces: list[bytes], lines: bool) -> None:
    head = LINE + (b"\r\n".join(pieces) if lines else b"".join(pieces))
    data = head + b"\r\n\r\nbody"
    try:
        found = parsed(ROAD, data, 0)
    except NotPlain:
        return
    if found is None:
        return
    path, headers, body, end = found
    ((message, payload),), _, rest = asyncio.run(read_by_aiohttp(data[:end]))
    assert (message.method, message.path, message.url.raw_path) == ("POST", path, path)
    assert (message.chunked, message.upgrade, message.should_close) == (False, False, False)
    assert {each: message.headers[each] for each in headers} == headers
    assert "Kcms-As" in headers or "Kcms-As" not in message.headers
    assert b"".join(getattr(payload, "_buffer", ())) == body
    assert rest == b""


async def read_by_aiohttp(data: bytes) -> Any:
    loop = asyncio.get_running_loop()
    return HttpRequestParser(BaseProtocol(loop), loop, 2**16).feed_data(data)
