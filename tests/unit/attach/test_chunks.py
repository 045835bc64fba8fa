"""Streams between gateways: whole, and known as ended or cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcms.attach.chunks import END, SIZE_LIMIT, ChunkError, Chunks, chunk


@given(st.lists(st.binary(max_size=50)), st.integers(1, 9))
def test_what_was_cut_into_chunks_comes_whole_in_whatever_pieces(
    parts: list[bytes], size: int
) -> None:
    stream = b"".join(map(chunk, parts)) + END
    reader = Chunks()
    found = b"".join(reader.feed(stream[at : at + size]) for at in range(0, len(stream), size))
    assert found == b"".join(parts)
    assert reader.ended


def test_an_end_is_a_mark_and_nothing_else() -> None:
    reader = Chunks()
    assert reader.feed(chunk(b"abc")[:-1]) == b"ab"
    assert not reader.ended
    assert reader.feed(b"c") == b"c"
    assert not reader.ended
    assert reader.feed(END) == b""
    assert reader.ended
    with pytest.raises(ChunkError, match="follows the end"):
        reader.feed(b"x")


def test_no_chunk_is_longer_than_the_limit() -> None:
    with pytest.raises(ChunkError):
        chunk(bytes(SIZE_LIMIT + 1))
    with pytest.raises(ChunkError):
        Chunks().feed((SIZE_LIMIT + 1).to_bytes(4, "big"))
    assert len(Chunks().feed(chunk(bytes(SIZE_LIMIT)))) == SIZE_LIMIT
