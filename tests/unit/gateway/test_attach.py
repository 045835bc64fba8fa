"""What a request to be attached, and one to open a stream, must be."""

from __future__ import annotations

import asyncio

import pytest

from kcms.errors import Forbidden, InvalidRequest
from kcms.gateway.attach import seconds_of
from kcms.gateway.peers import LINE_LIMIT, read_line, speaker_of


def test_a_wait_is_bounded() -> None:
    assert seconds_of({}) == 0.0
    assert seconds_of({"wait": "1.5"}) == 1.5
    for wrong in ("-1", "11", "nan", "soon", ""):
        with pytest.raises(InvalidRequest, match="wait must be 0 to 10 seconds"):
            seconds_of({"wait": wrong})


def certificate(*uris: str) -> dict[str, object]:
    return {"subjectAltName": tuple(("URI", each) for each in uris)}


def test_only_who_may_speak_for_users_opens_streams() -> None:
    assert speaker_of(certificate("kcms://submit/alpha1")) == "alpha1"
    assert speaker_of(certificate("kcms://node/a", "kcms://admin/head")) == "head"
    for wrong in (None, {}, certificate("kcms://node/alpha1"), certificate("kcms://manager/alpha")):
        with pytest.raises(Forbidden):
            speaker_of(wrong)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{}",
        b"[]\n",
        b"no\n",
        b'{"a": "' + b"x" * LINE_LIMIT + b'"}\n',
        b"\xff\n",
        b"[" * 3000 + b"\n",
    ],
)
async def test_a_stream_begins_with_a_short_line_of_json(said: bytes) -> None:
    reader = asyncio.StreamReader(1 << 16)
    reader.feed_data(said)
    reader.feed_eof()
    with pytest.raises(InvalidRequest, match="a stream begins with"):
        await read_line(reader)


async def test_what_follows_the_line_is_left_for_the_stream() -> None:
    reader = asyncio.StreamReader(1 << 16)
    reader.feed_data(b'{"kind": "attach"}\nrest')
    reader.feed_eof()
    assert await read_line(reader) == {"kind": "attach"}
    assert await reader.read() == b"rest"
